import pytest

from tests.agents.settings.presets.dqn_values import MNIH_2015, dqn_values

# dopamine, tf/agents/implicit_quantile/configs/implicit_quantile_icml.gin (Dabney et al. 2018).
TABLE = {
    **MNIH_2015,
    "distribution": "implicit",
    "taus": 64,  # N
    "target_taus": 64,  # N'
    "policy_taus": 32,  # K
    "acting_taus": 32,  # K
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
def test_iqn_to_the_letter(name):
    assert dqn_values("iqn")[name] == TABLE[name]
