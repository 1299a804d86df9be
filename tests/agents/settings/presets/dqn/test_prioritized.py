import pytest

from tests.agents.settings.presets.dqn_values import MNIH_2015, dqn_values

# Schaul et al. 2016, proportional variant; dqn_zoo, prioritized/run_atari.py; below that the paper's baseline.
TABLE = {
    **MNIH_2015,
    "prioritized": True,
    "priority_exponent": 0.6,
    "priority_beta": 0.4,
    "learning_rate": 0.0000625,  # 0.00025 / 4
    "double": True,
    "shared_bias": True,
    "dueling": False,
    "target_interval": 30_000,
    "epsilon_end": 0.01,
    "eval_epsilon": 0.001,
    "max_grad_norm": 0.0,
    "optimizer": "rmsprop",
    "optimizer_eps": 0.000625,  # 0.01 / 4²
    "loss_reduction": "sum",
    "huber_delta": 1.0,
}


@pytest.mark.parametrize("name", TABLE)
def test_prioritized_double_dqn_to_the_letter(name):
    assert dqn_values("prioritized")[name] == TABLE[name]
