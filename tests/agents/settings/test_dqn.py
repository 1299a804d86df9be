import pytest

from agents.settings.dqn import DQNSettings
from agents.settings.flat import from_flat

IMPLICIT = {"distribution": "implicit"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("train_interval", 0),
        ("replay_size", 0),
        ("n_step", 0),
        ("target_interval", 0),
        ("init_batch", 0),
        ("learning_rate", 0.0),
        ("huber_delta", -1.0),
        ("gamma", 1.1),
        ("tau", -0.1),
        ("epsilon_start", 2.0),
        ("epsilon_end", -1.0),
        ("beta1", 1.5),
        ("learning_starts", -1),
        ("epsilon_steps", -1),
        ("optimizer_eps", -1e-8),
        ("max_grad_norm", -1.0),
        ("reward_clip", -1.0),
        ("eval_epsilon", 1.5),
        ("atoms", 1),
        ("quantiles", 0),
        ("taus", 0),
        ("target_taus", 0),
        ("acting_taus", 0),
        ("munchausen_alpha", 1.5),
        ("munchausen_temperature", 0.0),
        ("munchausen_low", 0.5),
        ("priority_exponent", 1.5),
        ("priority_beta", -0.5),
        ("v_min", 20.0),
        ("policy_taus", -1),
        ("dueling_gradient_scale", 0.0),
        ("epsilon_off", -1),
    ],
)
def test_numbers_out_of_range_are_refused_by_name_and_value(name, value):
    with pytest.raises(ValueError, match=f"{name} must .*{value}"):
        from_flat(DQNSettings, **{name: value})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"munchausen": True, "double": True}, "double does not combine with munchausen"),
        ({"noisy": True}, "leave epsilon_start and epsilon_end out"),
        ({"noisy": True, "epsilon_start": 0.0}, "leave epsilon_start and epsilon_end out"),
        ({"atoms": 21}, "atoms 21 has no effect without distribution categorical"),
        ({"v_min": -5.0}, "v_min -5.0 has no effect without distribution categorical"),
        ({"v_max": 5.0, "distribution": "quantile"}, "v_max 5.0 has no effect without distribution categorical"),
        ({"quantiles": 50}, "quantiles 50 has no effect without distribution quantile"),
        ({"quantiles": 50, "distribution": "categorical"}, "quantiles 50 has no effect without distribution quantile"),
        ({"taus": 8}, "taus 8 has no effect without distribution implicit"),
        ({"target_taus": 8, "distribution": "quantile"}, "target_taus 8 has no effect without distribution implicit"),
        ({"acting_taus": 8}, "acting_taus 8 has no effect without distribution implicit"),
        ({"huber_delta": 0.5, "distribution": "categorical"}, "huber_delta 0.5 has no effect without a Huber loss"),
        ({"policy_taus": 8}, "policy_taus 8 has no effect without distribution implicit"),
        ({"dueling_gradient_scale": 0.7}, "dueling_gradient_scale 0.7 has no effect without dueling"),
        ({"shared_bias": True, "dueling": True}, "shared_bias True has no effect without a plain output layer"),
        ({"shared_bias": True, **IMPLICIT}, "shared_bias True has no effect without a plain output layer"),
        ({"munchausen_alpha": 0.5}, "munchausen_alpha 0.5 has no effect without munchausen"),
        ({"munchausen_temperature": 0.5}, "munchausen_temperature 0.5 has no effect without munchausen"),
        ({"munchausen_low": -2.0}, "munchausen_low -2.0 has no effect without munchausen"),
        ({"priority_exponent": 0.6}, "priority_exponent 0.6 has no effect without prioritized"),
        ({"priority_beta": 0.6}, "priority_beta 0.6 has no effect without prioritized"),
    ],
)
def test_options_that_would_do_nothing_are_refused_in_one_line(changes, said):
    with pytest.raises(ValueError, match=said) as refusal:
        from_flat(DQNSettings, **changes)
    assert "\n" not in str(refusal.value)


def test_options_with_what_uses_them_are_allowed():
    categorical = {"distribution": "categorical", "atoms": 29, "v_min": -7.0, "v_max": 7.0}
    from_flat(DQNSettings, categorical, prioritized=True, priority_exponent=0.6, priority_beta=0.6)
    quantile = {"distribution": "quantile", "quantiles": 11, "huber_delta": 0.5}
    from_flat(DQNSettings, quantile, munchausen=True, munchausen_low=-2.0)
    implicit = {"distribution": "implicit", "taus": 8, "target_taus": 8, "acting_taus": 8}
    from_flat(DQNSettings, implicit, noisy=True, epsilon_start=0.0, epsilon_end=0.0, double=True, policy_taus=8)
    from_flat(DQNSettings, noisy=True, epsilon_off=1_000)  # random actions that end
    from_flat(DQNSettings, policy_taus=0)  # of runs before there was that setting


def test_limits_are_allowed():
    from_flat(DQNSettings, gamma=0, epsilon_end=0, learning_starts=0, max_grad_norm=0, reward_clip=0, epsilon_steps=0)
