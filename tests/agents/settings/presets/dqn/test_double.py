import pytest

from tests.agents.settings.presets.dqn_values import MNIH_2015, dqn_values

# van Hasselt et al. 2016, appendix, tuned Double DQN; dqn_zoo, double_q/run_atari.py.
TABLE = {
    **MNIH_2015,
    "double": True,
    "target_interval": 30_000,  # steps; dqn_zoo: 120,000 frames
    "epsilon_end": 0.01,
    "eval_epsilon": 0.001,
    "shared_bias": True,
    "learning_rate": 0.00025,
    "max_grad_norm": 0.0,
    "dueling": False,
    "prioritized": False,
    "optimizer": "rmsprop",
    "optimizer_eps": 0.01,
    "loss_reduction": "sum",
    "huber_delta": 1.0,
}


@pytest.mark.parametrize("name", TABLE)
def test_tuned_double_dqn_to_the_letter(name):
    assert dqn_values("double")[name] == TABLE[name]
