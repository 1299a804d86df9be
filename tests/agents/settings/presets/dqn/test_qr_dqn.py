import pytest

from tests.agents.settings.presets.dqn_values import MNIH_2015, dqn_values

# Dabney et al. 2018, QR-DQN-1; dqn_zoo, qrdqn/run_atari.py.
TABLE = {
    **MNIH_2015,
    "distribution": "quantile",
    "quantiles": 200,
    "huber_delta": 1.0,  # κ
    "double": False,
    "dueling": False,
    "prioritized": False,
    "learning_rate": 0.00005,
    "target_interval": 10_000,
    "epsilon_end": 0.01,
    "eval_epsilon": 0.001,
    "optimizer": "adam",
    "optimizer_eps": 0.0003125,  # 0.01 / 32
    "loss_reduction": "mean",
    "max_grad_norm": 0.0,
}


@pytest.mark.parametrize("name", TABLE)
def test_qr_dqn_to_the_letter(name):
    assert dqn_values("qr-dqn")[name] == TABLE[name]
