import pytest

from tests.agents.settings.presets.dqn_values import MNIH_2015, dqn_values

# dopamine, tf/agents/rainbow/configs/c51_icml.gin; dqn_zoo, c51/run_atari.py.
TABLE = {
    **MNIH_2015,
    "distribution": "categorical",
    "atoms": 51,
    "v_min": -10.0,
    "v_max": 10.0,
    "double": False,
    "dueling": False,
    "prioritized": False,
    "learning_rate": 0.00025,
    "target_interval": 10_000,
    "epsilon_end": 0.01,
    "eval_epsilon": 0.001,
    "optimizer": "adam",
    "optimizer_eps": 0.0003125,  # 0.01 / 32
    "loss_reduction": "mean",
    "max_grad_norm": 0.0,
}


@pytest.mark.parametrize("name", TABLE)
def test_c51_to_the_letter(name):
    assert dqn_values("c51")[name] == TABLE[name]
