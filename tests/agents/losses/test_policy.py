import math

import pytest
import torch
from torch.autograd import gradcheck

from agents.losses.policy import (
    approximate_kl,
    clip_fraction,
    clipped_surrogate,
    clipped_value_loss,
    explained_variance,
    masked_mean,
    masked_means,
    normalize_advantages,
    policy_gradient_loss,
    sac_policy_loss,
    soft_value,
    temperature_loss,
    value_loss,
)

RATIO = torch.tensor([0.5, 0.9, 1.0, 1.1, 2.0, 0.5, 0.9, 1.1, 2.0], dtype=torch.float64)
ADVANTAGE = torch.tensor([3.0, 3.0, 3.0, 3.0, 3.0, -3.0, -3.0, -3.0, -3.0], dtype=torch.float64)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_clipped_surrogate_by_hand():
    loss = clipped_surrogate(RATIO.log(), torch.zeros(9), ADVANTAGE, 0.2)
    expected = [-1.5, -2.7, -3.0, -3.3, -3.6, 2.4, 2.7, 3.3, 6.0]
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.float64))


def test_clipped_surrogate_stops_pushing_where_it_pushed_far_enough():
    log_prob = RATIO.log().requires_grad_()
    clipped_surrogate(log_prob, torch.zeros(9), ADVANTAGE, 0.2).sum().backward()
    # −r A where it is not clipped; at 2 with a positive and at 0.5 with a negative advantage nothing
    expected = torch.tensor([-1.5, -2.7, -3.0, -3.3, 0.0, 0.0, 2.7, 3.3, 6.0], dtype=torch.float64)
    torch.testing.assert_close(log_prob.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("log_ratio", "advantage", "loss", "gradient"),
    [
        (0.0, 1.0, -1.0, -1.0),
        (100.0, 1.0, -1.2, 0.0),  # clipped: e^100 = 2.7e43 is no float32
        (1000.0, 1e-30, -1.2e-30, 0.0),  # nor is e^1000 a float64
        (100.0, 0.0, 0.0, 0.0),
        (1000.0, 0.0, 0.0, 0.0),
        (100.0, -1e-10, 2.6881171e33, 2.6881171e33),  # −r A itself is one
        (90.0, -1e-3, 1.2204033e36, 1.2204033e36),
        (81.0, -2.0, 3.0121946e35, 3.0121946e35),
        (79.0, -2.0, 4.0765621e34, 4.0765621e34),
        (79.0, 1e5, -1.2e5, 0.0),  # r A is none
        (-100.0, -1.0, 0.8, 0.0),
        (-1000.0, -1.0, 0.8, 0.0),
        (-1000.0, 1.0, 0.0, 0.0),
    ],
)
def test_clipped_surrogate_where_the_ratio_overflows(dtype, log_ratio, advantage, loss, gradient):
    log_prob = torch.tensor([log_ratio], dtype=dtype, requires_grad=True)
    value = clipped_surrogate(log_prob, torch.zeros(1, dtype=dtype), torch.tensor([advantage], dtype=dtype), 0.2)
    value.backward()
    assert value.item() == pytest.approx(loss, rel=1e-5)
    assert log_prob.grad.item() == pytest.approx(gradient, rel=1e-5)


def test_before_the_first_update_the_surrogate_is_the_policy_gradient():
    log_prob, advantage = randn(8).requires_grad_(), randn(8, seed=1)
    (surrogate,) = torch.autograd.grad(clipped_surrogate(log_prob, log_prob, advantage, 0.2).sum(), log_prob)
    (plain,) = torch.autograd.grad(policy_gradient_loss(log_prob, advantage).sum(), log_prob)
    torch.testing.assert_close(surrogate, plain)


def test_policy_gradient_loss_by_hand():
    loss = policy_gradient_loss(torch.tensor([-0.5, -2.0, -1.0]), torch.tensor([2.0, -3.0, 0.0]))
    torch.testing.assert_close(loss, torch.tensor([1.0, -6.0, 0.0]))


def test_value_losses_by_hand():
    value, old_value = torch.tensor([1.0, 1.0, 3.0, -4.0]), torch.tensor([0.9, 0.0, 0.0, 0.0])
    target = torch.tensor([2.0, 2.0, 2.0, -5.0])
    torch.testing.assert_close(value_loss(value, target), torch.tensor([0.5, 0.5, 0.5, 0.5]))
    # kept within ±0.2 of the old value: 1.0, 0.2, 0.2, −0.2
    clipped = clipped_value_loss(value, old_value, target, 0.2)
    torch.testing.assert_close(clipped, torch.tensor([0.5, 1.62, 1.62, 11.52]))


def test_a_wide_clip_changes_nothing():
    value, old_value, target, log_prob = (randn(50, seed=seed) for seed in range(4))
    torch.testing.assert_close(clipped_value_loss(value, old_value, target, 1e6), value_loss(value, target))
    unclipped = -(log_prob - value).exp() * target
    torch.testing.assert_close(clipped_surrogate(log_prob, value, target, 1e6), unclipped)


@pytest.mark.parametrize(
    "formula",
    [
        lambda x, a, b: policy_gradient_loss(x, a),
        lambda x, a, b: clipped_surrogate(x, a, b, 0.2),
        lambda x, a, b: value_loss(x, a),
        lambda x, a, b: clipped_value_loss(x, a, b, 0.3),
    ],
)
def test_gradients_enter_the_first_argument_only(formula):
    x, a, b = (randn(20, seed=seed).requires_grad_() for seed in (5, 6, 7))
    assert gradcheck(lambda x: formula(x, a, b), x)
    formula(x, a, b).sum().backward()
    assert x.grad.abs().sum() > 0
    assert a.grad is None
    assert b.grad is None


def test_approximate_kl_by_hand():
    estimate = approximate_kl(torch.tensor([0.0, math.log(2), -math.log(2)]), torch.zeros(3))
    torch.testing.assert_close(estimate, torch.tensor([0.0, 0.306853, 0.193147]))  # 1 − log 2, −½ + log 2


def test_approximate_kl_is_never_negative_and_on_average_the_divergence():
    old, new = randn(5).log_softmax(0), randn(5, seed=1).log_softmax(0)
    estimate = approximate_kl(new, old)
    assert (estimate >= 0).all()
    torch.testing.assert_close((old.exp() * estimate).sum(), (old.exp() * (old - new)).sum())


def test_a_tiny_divergence_is_not_rounded_away():
    step = torch.tensor([1e-3])
    torch.testing.assert_close(approximate_kl(step, torch.zeros(1)), 0.5 * step**2, rtol=1e-3, atol=0)


def test_clip_fraction_by_hand():
    fraction = clip_fraction(RATIO.log(), torch.zeros(9, dtype=torch.float64), 0.2)
    assert fraction.tolist() == [1, 0, 0, 0, 1, 1, 0, 0, 1]
    assert fraction.dtype == torch.float64


def test_the_ratio_is_to_the_old_policy():
    old = torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64)
    assert clip_fraction(old + torch.tensor([0.5, 0.1, -0.5]).log1p(), old, 0.3).tolist() == [1, 0, 1]
    assert clip_fraction(old, old, 0.0).tolist() == [0, 0, 0]  # a ratio of 1 is no further than 0 from 1


def test_soft_value_by_hand():
    log_policy = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log()
    q_values = torch.tensor([[4.0, 8.0], [1.0, 3.0]])
    # Σ π q = 7 and 2; entropies 0.562335 and 0.693147
    torch.testing.assert_close(soft_value(log_policy, q_values, 2.0), torch.tensor([8.124670, 3.386294]))
    torch.testing.assert_close(soft_value(log_policy, q_values, 0.0), torch.tensor([7.0, 2.0]))
    torch.testing.assert_close(sac_policy_loss(log_policy, q_values, 2.0), torch.tensor([-8.124670, -3.386294]))


@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_the_best_soft_policy_is_the_softmax_of_its_values(temperature):
    q_values = randn(6, 4)
    logits = (q_values / temperature).requires_grad_()
    loss = sac_policy_loss(logits.log_softmax(1), q_values, temperature)
    torch.testing.assert_close(loss, -temperature * (q_values / temperature).logsumexp(1))
    loss.sum().backward()
    torch.testing.assert_close(logits.grad, torch.zeros(6, 4, dtype=torch.float64))
    assert (sac_policy_loss(randn(6, 4, seed=1).log_softmax(1), q_values, temperature) > loss).all()


def test_the_policy_loss_trains_the_policy_only():
    logits, q_values = randn(6, 4).requires_grad_(), randn(6, 4, seed=1).requires_grad_()
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda logits: sac_policy_loss(logits.log_softmax(1), q_values, 0.5), logits)
    sac_policy_loss(logits.log_softmax(1), q_values, log_temperature.exp()).sum().backward()
    assert logits.grad.abs().sum() > 0
    assert q_values.grad is None
    assert log_temperature.grad is None


def test_temperature_loss_by_hand():
    log_policy = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log()
    loss = temperature_loss(torch.tensor(math.log(3)), log_policy, 0.6)
    torch.testing.assert_close(loss, torch.tensor([-0.112995, 0.279442]), rtol=1e-4, atol=1e-5)
    literal = -3 * (log_policy.exp() * (log_policy + 0.6)).sum(1)
    torch.testing.assert_close(loss, literal)


@pytest.mark.parametrize(("target_entropy", "direction"), [(0.5, -1), (0.9, 1)])
def test_the_temperature_falls_where_the_entropy_exceeds_its_target(target_entropy, direction):
    log_temperature = torch.tensor(-1.0, requires_grad=True)
    log_policy = torch.tensor([[0.5, 0.5]]).log().requires_grad_()  # entropy 0.69
    temperature_loss(log_temperature, log_policy, target_entropy).sum().backward()
    assert math.copysign(1, -log_temperature.grad.item()) == direction
    assert log_policy.grad is None


@pytest.mark.parametrize("shape", [(12,), (3, 4)])
def test_masked_mean_ignores_the_others_whatever_they_are(shape):
    x = torch.arange(12.0).reshape(shape).clone()
    valid = (torch.arange(12) % 3 == 0).reshape(shape)
    x[~valid] = math.nan
    assert masked_mean(x, valid).item() == 4.5  # of 0, 3, 6, 9
    assert masked_mean(x, torch.zeros_like(valid)).item() == 0


def test_masked_mean_sends_its_gradient_to_the_valid():
    x = torch.tensor([1.0, math.inf, 3.0], requires_grad=True)
    masked_mean(x.square(), torch.tensor([True, False, True])).backward()
    assert x.grad[[0, 2]].tolist() == [1, 3]


def test_normalized_advantages_are_that_of_the_valid_alone():
    advantage, valid = 5 + 3 * randn(6, 4), randn(6, 4, seed=1) > 0
    expected = (advantage[valid] - advantage[valid].mean()) / (advantage[valid].std() + 1e-8)
    advantage[~valid] = math.nan
    normalized = normalize_advantages(advantage, valid)
    torch.testing.assert_close(normalized[valid], expected)
    torch.testing.assert_close(normalized[valid].std().item(), 1.0)
    assert (normalized[~valid] == 0).all()


def test_normalized_advantages_by_hand():
    normalized = normalize_advantages(torch.tensor([1.0, 2.0, 3.0, 99.0]), torch.tensor([True, True, True, False]))
    torch.testing.assert_close(normalized, torch.tensor([-1.0, 0.0, 1.0, 0.0]))


def test_normalized_advantages_of_two_are_over_the_unbiased_deviation_plus_1e_8():
    both = torch.ones(2, dtype=torch.bool)
    half = math.sqrt(0.5)
    torch.testing.assert_close(normalize_advantages(torch.tensor([1.0, 3.0]), both), torch.tensor([-half, half]))
    tiny = normalize_advantages(torch.tensor([0.0, 2e-8]), both)  # a deviation of √2 · 1e-8
    torch.testing.assert_close(tiny, torch.tensor([-1.0, 1.0]) / (math.sqrt(2) + 1))


@pytest.mark.parametrize("count", [0, 1])
def test_normalized_advantages_stay_finite_with_one_valid_entry_or_none(count):
    assert normalize_advantages(torch.tensor([7.0, 8.0, 9.0]), torch.arange(3) < count).tolist() == [0, 0, 0]
    assert normalize_advantages(torch.full((3,), 5.0), torch.ones(3, dtype=torch.bool)).tolist() == [0, 0, 0]


def test_explained_variance_by_hand():
    target, valid = torch.tensor([0.0, 2.0, 4.0, 999.0]), torch.tensor([True, True, True, False])
    assert explained_variance(target + 7, target, valid).item() == 1  # a constant error costs nothing
    assert explained_variance(torch.ones(4), target, valid).item() == 0
    assert explained_variance(-target, target, valid).item() == -3
    assert explained_variance(-target / 4, target / 4, valid).item() == -3  # of a variance below 1
    rest = torch.tensor([0.0, 2.0, 3.0, math.nan])  # errors 0, 0, 1: variance 2/9 of 8/3
    torch.testing.assert_close(explained_variance(rest, target, valid).item(), 1 - 1 / 12)


def test_explained_variance_of_what_does_not_vary_is_not_a_number():
    everything = torch.ones(2, 3, dtype=torch.bool)
    assert explained_variance(torch.rand(2, 3), torch.zeros(2, 3), everything).isnan()


@pytest.mark.parametrize(
    ("formula", "shapes", "numbers"),
    [
        (policy_gradient_loss, [(4,), (4, 1)], []),
        (clipped_surrogate, [(4,), (4,), (1,)], [0.2]),
        (value_loss, [(4, 1), (4,)], []),
        (clipped_value_loss, [(4,), (1,), (4,)], [0.2]),
        (approximate_kl, [(4,), ()], []),
        (clip_fraction, [(4,), (1,)], [0.2]),
        (soft_value, [(4, 2), (4, 1)], [1.0]),
        (temperature_loss, [(1,), (4, 2)], [1.0]),
        (masked_mean, [(4, 2), (4, 1)], []),
        (explained_variance, [(4, 2), (4, 2), (4,)], []),
        (policy_gradient_loss, [(4, 1), (4,)], []),
        (policy_gradient_loss, [(4, 1), (4, 1)], []),
        (clipped_surrogate, [(4, 1), (4,), (4,)], [0.2]),
        (clipped_surrogate, [(4, 1), (4, 1), (4,)], [0.2]),
        (clipped_surrogate, [(4, 1), (4, 1), (4, 1)], [0.2]),
        (value_loss, [(4, 1), (4, 1)], []),
        (clipped_value_loss, [(4, 1), (4,), (4,)], [0.2]),
        (clipped_value_loss, [(4, 1), (4, 1), (4,)], [0.2]),
        (clipped_value_loss, [(4, 1), (4, 1), (4, 1)], [0.2]),
        (approximate_kl, [(4, 1), (4,)], []),
        (approximate_kl, [(4, 1), (4, 1)], []),
        (clip_fraction, [(4, 1), (4,)], [0.2]),
        (clip_fraction, [(4, 1), (4, 1)], [0.2]),
        (soft_value, [(4,), (4,)], [1.0]),
        (soft_value, [(4, 2, 3), (4, 2, 3)], [1.0]),
        (temperature_loss, [(), (4,)], [1.0]),
        (temperature_loss, [(), (4, 2, 3)], [1.0]),
    ],
)
def test_shapes_that_would_broadcast_are_refused(formula, shapes, numbers):
    with pytest.raises(ValueError, match=f"{formula.__name__} takes shapes"):
        formula(*map(torch.zeros, shapes), *numbers)


def test_masked_means_are_those_of_each_row():
    x, valid = torch.randn(3, 5), torch.tensor([True, False, True, True, False])
    x[1, 1] = torch.nan
    expected = torch.stack([masked_mean(row, valid) for row in x])
    torch.testing.assert_close(masked_means(x, valid), expected)
    assert not masked_means(x, torch.zeros_like(valid)).any()
    with pytest.raises(ValueError, match=r"masked_means takes shapes \[K, B\], \[B\], got \(3, 5\), \(4,\)"):
        masked_means(x, valid[:4])
