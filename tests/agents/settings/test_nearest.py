"""agents.settings.nearest: what a wrong name most likely means."""

import pytest

from agents.registry import AGENTS
from agents.settings.flat import flat_defaults
from agents.settings.nearest import ELSEWHERE, nearest_setting
from agents.settings.run import TrainSettings

NAMES = {name: flat_defaults(TrainSettings[spec.settings]).keys() for name, spec in AGENTS.items()}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lr", "learning_rate"),
        ("learning_rte", "learning_rate"),
        ("num_env", "num_envs"),
        ("buffer_size", "replay_size"),
        ("grad_norm", "max_grad_norm"),
        ("sed", "seed"),
    ],
)
def test_the_name_that_is_meant(name, meant):
    assert nearest_setting(name, NAMES["dqn"]) == meant


def test_a_name_of_another_library_means_a_setting_that_the_agent_has():
    assert nearest_setting("n_steps", NAMES["ppo"]) == "rollout_length"
    assert nearest_setting("batch_size", NAMES["ppo"]) == "minibatches"
    assert nearest_setting("n_steps", NAMES["dqn"]) == "n_step"
    assert nearest_setting("qqqqqq", NAMES["dqn"]) is None


def test_every_name_of_the_table_is_a_setting_of_some_agent():
    assert set(ELSEWHERE.values()) <= set().union(*NAMES.values())
