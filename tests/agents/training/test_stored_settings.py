"""agents.training.stored_settings; the golden files of earlier versions are tests of the command line's parser."""

import json

import pytest

from agents.registry import AGENTS
from agents.settings.flat import from_flat, replace, to_json
from agents.settings.run import TrainSettings
from agents.training.run_directory import RunDirectory
from agents.training.stored_settings import stored_settings

PPO = AGENTS["ppo"]
SETTINGS = from_flat(TrainSettings[PPO.settings], env="Chain", steps=70, hidden=(4, 5), norm="layer")


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run", {"agent": "ppo", "settings": to_json(SETTINGS)}).path


def test_the_settings_come_back_as_they_continue_the_run(run):
    assert stored_settings(PPO, run) == replace(SETTINGS, resume=run, run_dir=run, schedule_steps=70)


def test_another_agents_run_is_refused(run):
    with pytest.raises(ValueError, match=r"run is a run of ppo, not of dqn$"):
        stored_settings(AGENTS["dqn"], run)


def test_a_setting_that_is_missing_has_its_earlier_meaning(run):
    config = json.loads((run / "config.json").read_text())
    del config["settings"]["impala_pool"]
    (run / "config.json").write_text(json.dumps(config))
    assert stored_settings(PPO, run).run.network.impala_pool == 0


def changed(run, **settings):
    config = json.loads((run / "config.json").read_text())
    config["settings"].update(settings)
    (run / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden": 5},
        {"hidden": [None]},
        {"hidden": {}},
        {"steps": "many"},
        {"steps": None},
        {"steps": True},
        {"steps": 1.5},
        {"seed": -1},
        {"gamma": "x"},
        {"gamma": float("nan")},
        {"learning_rate": 10**400},
        {"norm": "evil"},
        {"norm": []},
        {"env": 5},
        {"env_kwargs": [5]},
        {"own_torso": 5},
        {"own_torso": "evil"},
        {"evil": 1},
        {"device": ["x" * 10_000]},
    ],
)
def test_a_setting_that_cannot_be_is_one_line(run, settings):
    changed(run, **settings)
    with pytest.raises(ValueError, match=r"run (is no configuration|cannot be continued|has settings that)") as raised:
        stored_settings(PPO, run)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1_000


def test_trust_is_neither_written_nor_read(run):
    """Else a file could say of itself that it is trusted."""
    assert "trust" not in to_json(SETTINGS)
    changed(run, trust=True)
    assert stored_settings(PPO, run).run.trust is False
