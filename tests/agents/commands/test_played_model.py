"""What `evaluate` and `watch` share; their own tests call the rest of it."""

import pytest

from agents.commands.played_model import PlaySettings, located, open_run
from tests.agents.training.chain_models import chain_model, save

VALUES, POLICY = {"epsilon": 0.05}, {"sample": True}


@pytest.mark.parametrize(
    ("own", "given", "manner"),
    [
        (VALUES, {}, {"epsilon": 0.05}),
        (VALUES, {"epsilon": 0.5}, {"epsilon": 0.5}),
        (VALUES, {"epsilon": 0.0}, {"epsilon": 0.0}),
        (VALUES, {"greedy": True}, {"epsilon": 0.0}),
        (POLICY, {}, {"sample": True}),
        (POLICY, {"greedy": True}, {"sample": False}),
        ({"sample": False}, {"greedy": False}, {"sample": True}),
        (POLICY, {"epsilon": 0.5}, {"sample": True, "epsilon": 0.5}),
        (POLICY, {"greedy": False, "epsilon": 0.5}, {"sample": True, "epsilon": 0.5}),
    ],
)
def test_the_manner_of_the_run_unless_another_is_given(own, given, manner):
    assert PlaySettings("run", **given).manner(own) == manner
    assert own in (VALUES, POLICY, {"sample": False})  # unchanged


def test_what_has_no_policy_cannot_be_sampled():
    with pytest.raises(ValueError, match="no-greedy samples the actions of a policy, which this agent does not"):
        PlaySettings("run", greedy=False).manner(VALUES)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seed": -1}, "seed must not be negative"),
        ({"epsilon": 1.5}, "epsilon must lie between 0 and 1"),
        ({"greedy": True, "epsilon": 0.1}, r"greedy has no random actions, got epsilon 0\.1"),
    ],
)
def test_settings_are_checked(given, said):
    with pytest.raises(ValueError, match=said):
        PlaySettings("run", **given)


def test_a_run_and_a_file_in_it(tmp_path):
    save(tmp_path / "run", "best", chain_model(right=True))
    settings = located(PlaySettings(tmp_path / "run" / "best.safetensors"))
    assert (settings.run_dir, settings.model) == (tmp_path / "run", "best")
    assert open_run(settings.run_dir).path == tmp_path / "run"
    with pytest.raises(ValueError, match="is not the folder of a run"):
        open_run(tmp_path)
