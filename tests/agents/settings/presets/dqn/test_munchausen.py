import pytest

from tests.agents.settings.presets.dqn_values import MNIH_2015, dqn_values

# github.com/google-research/google-research, munchausen_rl: configs/atari.gin, train.py (Vieillard et al. 2020).
BOTH = {
    **MNIH_2015,
    "munchausen": True,
    "munchausen_alpha": 0.9,
    "munchausen_temperature": 0.03,
    "munchausen_low": -1.0,
    "huber_delta": 1.0,
    "double": False,
    "dueling": False,
    "prioritized": False,
    "learning_rate": 0.00005,
    "target_interval": 8_000,
    "learning_starts": 20_000,
    "epsilon_end": 0.01,
    "epsilon_steps": 250_000,
    "eval_epsilon": 0.001,
    "life_loss": False,
    "sticky_actions": 0.25,
    "noop_max": 0,
    "optimizer": "adam",
    "optimizer_eps": 0.0003125,  # 0.01 / 32
    "loss_reduction": "mean",
    "max_grad_norm": 0.0,
}
OWN = {
    "munchausen": {"distribution": "none"},
    "m-iqn": {"distribution": "implicit", "taus": 64, "target_taus": 64, "policy_taus": 32, "acting_taus": 32},
}


@pytest.mark.parametrize("preset", OWN)
@pytest.mark.parametrize("name", BOTH)
def test_munchausen_to_the_letter(preset, name):
    assert dqn_values(preset)[name] == BOTH[name]


@pytest.mark.parametrize("preset", OWN)
def test_the_distribution_is_what_differs(preset):
    found = dqn_values(preset)
    assert {name: found[name] for name in OWN[preset]} == OWN[preset]
