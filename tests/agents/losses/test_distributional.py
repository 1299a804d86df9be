import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from agents.losses.distributional import (
    categorical_projection,
    categorical_targets,
    cross_entropy,
    quantile_huber,
    quantile_targets,
)
from agents.losses.value import expected_target, greedy, softmax_policy


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


ATOMS = torch.linspace(-2, 2, 9, dtype=torch.float64)
REWARD, DISCOUNT = randn(6, seed=1), torch.tensor([0.9, 0.99, 0.0, 0.5, 1.0, 0.9], dtype=torch.float64)
PROBABILITIES = randn(6, 3, 9, seed=2).softmax(2)  # [B, A, K]
MEANS = (PROBABILITIES * ATOMS).sum(2)


def naive_projection(values, probabilities, atoms):
    """Algorithm 1 of Bellemare et al. 2017, value by value; where one falls on an atom, it stays there."""
    projected, spacing = [0.0] * len(atoms), atoms[1] - atoms[0]
    for value, probability in zip(values, probabilities, strict=True):
        position = (min(max(value, atoms[0]), atoms[-1]) - atoms[0]) / spacing
        lower, upper = math.floor(position), math.ceil(position)
        if lower == upper:
            projected[lower] += probability
        else:
            projected[lower] += probability * (upper - position)
            projected[upper] += probability * (position - lower)
    return projected


def test_projection_by_hand():
    values = torch.tensor([[0.25, -0.5], [0.0, 1.0], [-7.0, 9.0], [-0.75, 0.75]])
    probabilities = torch.tensor([[0.4, 0.6], [0.3, 0.7], [0.1, 0.9], [0.5, 0.5]])
    expected = torch.tensor([[0.3, 0.6, 0.1], [0.0, 0.3, 0.7], [0.1, 0.0, 0.9], [0.375, 0.25, 0.375]])
    torch.testing.assert_close(categorical_projection(values, probabilities, torch.tensor([-1.0, 0.0, 1.0])), expected)


@pytest.mark.parametrize("seed", range(5))
def test_projection_is_the_naive_loop(seed):
    values, probabilities = 2 * randn(4, 30, seed=seed), randn(4, 30, seed=seed + 100).softmax(1)
    values[:, :5] = ATOMS[torch.randint(9, (5,), generator=torch.Generator().manual_seed(seed))]
    rows = zip(values.tolist(), probabilities.tolist(), strict=True)
    expected = torch.tensor([naive_projection(*row, ATOMS.tolist()) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(categorical_projection(values, probabilities, ATOMS), expected)


@pytest.mark.parametrize(("low", "high", "number"), [(-10.0, 10.0, 51), (0.0, 1.0, 2), (-0.1, 37.3, 200)])
def test_projection_keeps_mass_everywhere_and_the_mean_inside(low, high, number):
    atoms = torch.linspace(low, high, number)
    values, probabilities = (3 * randn(16, 80)).float(), randn(16, 80, seed=1).softmax(1).float()
    torch.testing.assert_close(categorical_projection(values, probabilities, atoms).sum(1), torch.ones(16))
    inside = values.clamp(low, high)
    mean = categorical_projection(inside, probabilities, atoms) @ atoms
    torch.testing.assert_close(mean, (inside * probabilities).sum(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("low", "high", "number"), [(-10.0, 10.0, 51), (-0.1, 37.3, 200), (0.0, 1.0, 2)])
def test_a_value_on_an_atom_stays_there_whole(low, high, number):
    atoms = torch.linspace(low, high, number)
    projected = categorical_projection(atoms.unsqueeze(1), torch.ones(number, 1), atoms)
    torch.testing.assert_close(projected, torch.eye(number), rtol=0, atol=1e-4)
    torch.testing.assert_close(projected.sum(1), torch.ones(number), rtol=0, atol=1e-6)


def test_the_greedy_target_is_that_of_c51():
    best = MEANS.argmax(1)
    values, probabilities = categorical_targets(REWARD, DISCOUNT, ATOMS, PROBABILITIES, greedy(MEANS))
    projected = categorical_projection(values, probabilities, ATOMS)
    for i, (reward, discount) in enumerate(zip(REWARD.tolist(), DISCOUNT.tolist(), strict=True)):
        moved = [reward + discount * atom for atom in ATOMS.tolist()]
        expected = naive_projection(moved, PROBABILITIES[i, best[i]].tolist(), ATOMS.tolist())
        torch.testing.assert_close(projected[i], torch.tensor(expected, dtype=torch.float64))


def test_categorical_targets_by_hand():
    reward, discount, atoms = torch.tensor([1.0]), torch.tensor([0.5]), torch.tensor([0.0, 2.0])
    probabilities, policy = torch.tensor([[[0.2, 0.8], [0.6, 0.4]]]), torch.tensor([[0.25, 0.75]])
    values, mixture = categorical_targets(reward, discount, atoms, probabilities, policy)
    torch.testing.assert_close(values, torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(mixture, torch.tensor([[0.5, 0.5]]))
    values, mixture = categorical_targets(reward, discount, atoms, probabilities, policy, torch.tensor([[-1.0, 2.0]]))
    torch.testing.assert_close(values, torch.tensor([[1.5, 2.5, 0.0, 1.0]]))
    torch.testing.assert_close(mixture, torch.tensor([[0.05, 0.2, 0.45, 0.3]]))


def test_the_mean_of_every_target_is_the_expected_target():
    policy, log_policy = softmax_policy(MEANS, 0.3)
    quantiles = randn(6, 3, 7, seed=3)
    for penalty in (None, 0.3 * log_policy):
        values, probabilities = categorical_targets(REWARD, DISCOUNT, ATOMS, PROBABILITIES, policy, penalty)
        expected = expected_target(REWARD, DISCOUNT, MEANS, policy, penalty)
        torch.testing.assert_close((values * probabilities).sum(1), expected)
        targets = quantile_targets(REWARD, DISCOUNT, quantiles, policy, penalty)
        torch.testing.assert_close(
            targets.mean(1), expected_target(REWARD, DISCOUNT, quantiles.mean(2), policy, penalty)
        )


def test_a_penalty_of_0_is_no_penalty():
    policy = MEANS.softmax(1)
    plain, zero = (
        categorical_projection(*categorical_targets(REWARD, DISCOUNT, ATOMS, PROBABILITIES, policy, penalty), ATOMS)
        for penalty in (None, torch.zeros_like(policy))
    )
    torch.testing.assert_close(plain, zero)


def test_a_terminal_target_is_the_reward():
    values, probabilities = categorical_targets(REWARD, 0 * DISCOUNT, ATOMS, PROBABILITIES, MEANS.softmax(1), MEANS)
    torch.testing.assert_close(values, REWARD.unsqueeze(1).expand(6, 27))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(6, dtype=torch.float64))
    targets = quantile_targets(REWARD, 0 * DISCOUNT, PROBABILITIES, MEANS.softmax(1), MEANS)
    torch.testing.assert_close(targets, REWARD.unsqueeze(1).expand(6, 9))


def test_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, math.log(3)], [5.0, 5.0]])
    loss = cross_entropy(logits, torch.tensor([[0.5, 0.5], [0.1, 0.9]]))
    torch.testing.assert_close(loss, torch.tensor([0.836988, 0.693147]))  # −½ log ¼ − ½ log ¾, log 2


def test_cross_entropy_is_torchs_and_no_gradient_enters_the_target():
    logits, target = randn(4, 5).requires_grad_(), randn(4, 5, seed=1).softmax(1).requires_grad_()
    loss = cross_entropy(logits, target)
    torch.testing.assert_close(loss, F.cross_entropy(logits, target, reduction="none"))
    loss.sum().backward()
    torch.testing.assert_close(logits.grad, logits.detach().softmax(1) - target.detach())
    assert target.grad is None


def test_quantile_huber_by_hand():
    quantiles, targets = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, -2.0, 3.0]])
    levels = torch.tensor([0.25, 0.75])
    # errors 0.5, −2, 3 and −0.5, −3, 2; Huber 0.125, 1.5, 2.5 and 0.125, 2.5, 1.5
    # weights ¼, ¾, ¼ and ¼, ¼, ¾; sums 1.78125 and 1.78125
    torch.testing.assert_close(quantile_huber(quantiles, levels, targets), torch.tensor([3.5625 / 3]))
    # without the quadratic part: ¼·0.5 + ¾·2 + ¼·3 and ¼·0.5 + ¼·3 + ¾·2
    torch.testing.assert_close(quantile_huber(quantiles, levels, targets, delta=0), torch.tensor([4.75 / 3]))


def naive_quantile_huber(quantiles, levels, targets, delta):
    total = 0.0
    for quantile, level in zip(quantiles, levels, strict=True):
        for target in targets:
            error = target - quantile
            size = abs(error)
            huber = 0.5 * error**2 if size <= delta else delta * (size - 0.5 * delta)
            total += abs(level - (1.0 if error < 0 else 0.0)) * (huber / delta if delta else size) / len(targets)
    return total


@pytest.mark.parametrize("delta", [0.0, 0.3, 1.0, 10.0])
def test_quantile_huber_is_the_naive_loop(delta):
    quantiles, levels, targets = 2 * randn(5, 4), randn(5, 4, seed=1).sigmoid(), 2 * randn(5, 7, seed=2)
    rows = zip(quantiles.tolist(), levels.tolist(), targets.tolist(), strict=True)
    expected = torch.tensor([naive_quantile_huber(*row, delta) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(quantile_huber(quantiles, levels, targets, delta), expected)
    shared = quantile_huber(quantiles, levels[0], targets, delta)
    torch.testing.assert_close(shared, quantile_huber(quantiles, levels[:1].expand(5, 4), targets, delta))


def test_a_small_delta_tends_to_plain_quantile_regression():
    quantiles, levels, targets = randn(5, 4), torch.tensor([0.1, 0.4, 0.6, 0.9]).double(), randn(5, 7, seed=2)
    plain = quantile_huber(quantiles, levels, targets, delta=0)
    torch.testing.assert_close(quantile_huber(quantiles, levels, targets, delta=1e-9), plain)
    assert (quantile_huber(quantiles, levels, targets) - plain).abs().min() > 0.01


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_plain_quantile_regression_is_least_at_the_quantile(level):
    targets, candidates = torch.arange(101.0).expand(101, 101), torch.arange(101.0).unsqueeze(1)
    losses = quantile_huber(candidates, torch.tensor([level]), targets, delta=0)
    assert losses.argmin().item() == round(100 * level)


def test_gradients_of_the_distributions():
    quantiles, targets = randn(3, 4).requires_grad_(), randn(3, 5, seed=1).requires_grad_()
    levels = torch.tensor([0.1, 0.4, 0.6, 0.9]).double()
    assert gradcheck(lambda quantiles: quantile_huber(quantiles, levels, targets, 0.7), quantiles)
    quantile_huber(quantiles, levels, targets).sum().backward()
    assert targets.grad is None
    probabilities = randn(3, 5, seed=2).softmax(1).requires_grad_()
    assert gradcheck(lambda probabilities: categorical_projection(randn(3, 5), probabilities, ATOMS), probabilities)


@pytest.mark.parametrize(
    ("formula", "shapes"),
    [
        (categorical_projection, [(4, 3), (4, 1), (5,)]),
        (categorical_projection, [(4, 3), (4, 3), (1, 5)]),
        (cross_entropy, [(4, 3), (1, 3)]),
        (quantile_huber, [(4, 3), (1,), (4, 5)]),
        (quantile_huber, [(4, 3), (1, 3), (4, 5)]),
        (quantile_huber, [(4, 3), (3,), (1, 5)]),
        (categorical_targets, [(4,), (4,), (5,), (4, 2, 1), (4, 2)]),
        (categorical_targets, [(4,), (4,), (5,), (4, 2, 5), (4, 2), (4, 1)]),
        (quantile_targets, [(4,), (1,), (4, 2, 5), (4, 2)]),
        (quantile_targets, [(4,), (4,), (4, 2, 5), (4, 2), (1, 2)]),
    ],
)
def test_shapes_that_would_broadcast_are_refused(formula, shapes):
    with pytest.raises(ValueError, match=f"{formula.__name__} takes shapes"):
        formula(*map(torch.zeros, shapes))


def test_one_atom_and_a_negative_delta_are_refused():
    with pytest.raises(ValueError, match="two atoms at least, got 1"):
        categorical_projection(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(1))
    with pytest.raises(ValueError, match="delta must be at least 0, got -1"):
        quantile_huber(torch.zeros(2, 3), torch.zeros(3), torch.zeros(2, 3), -1.0)
