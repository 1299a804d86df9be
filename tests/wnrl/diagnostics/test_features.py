"""wnrl.diagnostics.features: literal values, and what they do not depend on."""

import math

import pytest
import torch

from wnrl.diagnostics import features
from wnrl.diagnostics.features import (
    action_gap,
    dormant_ratio,
    effective_rank,
    gram_matrix,
    overestimation,
    policy_churn,
    ranks_of_gram,
    relative_change,
    stable_rank,
)


@pytest.mark.parametrize(
    ("activations", "tau", "share"),
    [
        ([[1.0, 0.0, 3.0, 0.0], [1.0, 0.0, 3.0, 0.0]], 0.0, 0.5),
        ([[1.0, 0.02, 3.0, 0.0], [1.0, 0.02, 3.0, 0.0]], 0.0, 0.25),
        ([[1.0, 0.02, 3.0, 0.0], [1.0, 0.02, 3.0, 0.0]], 0.025, 0.5),  # mean 1.005: dormant up to 0.025125
        ([[1.0, 0.03, 3.0, 0.0], [1.0, 0.03, 3.0, 0.0]], 0.025, 0.25),
        ([[-1.0, 0.0], [1.0, 0.0]], 0.025, 0.5),  # absolute activations
        ([[0.0, 0.0], [0.0, 0.0]], 0.025, 1.0),
        ([[0.0, 2.0], [0.2, 2.0]], 0.05, 0.0),  # 0.1, and 0.0525 is the most of a dormant one
    ],
)
def test_a_dormant_unit_is_little_active_beside_the_others(activations, tau, share):
    assert dormant_ratio(torch.tensor(activations), tau).item() == share


@pytest.mark.parametrize(
    ("activations", "share"),
    [
        (torch.tensor([[True, False]]), 0.5),
        (torch.full((2, 3), -128, dtype=torch.int8), 0.0),
        (torch.full((2, 3), 1e38), 0.0),
        (torch.full((2, 3), 60_000.0, dtype=torch.float16), 0.0),
        (torch.tensor([[1e-200, 1e-202]], dtype=torch.float64), 0.5),
    ],
    ids=str,
)
def test_dormant_units_of_any_dtype_and_size(activations, share):
    assert dormant_ratio(activations).item() == share


def test_positions_of_a_convolution_are_averaged_over():
    maps = torch.zeros(2, 3, 4, 4)
    maps[0, 0, 1, 2] = 32.0  # mean 1
    maps[:, 1] = 1.0
    assert dormant_ratio(maps).item() == pytest.approx(1 / 3)
    assert dormant_ratio(maps.flatten(2).mean(2)).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_of_activations_that_are_not_finite_no_share_is_known(broken, dtype):
    one = torch.ones(4, 3, dtype=dtype)
    one[1, 2] = broken
    assert math.isnan(dormant_ratio(one).item())
    assert math.isnan(dormant_ratio(torch.full((4, 3, 2), broken, dtype=dtype)).item())


def diagonal(*values):
    """A matrix with these singular values, in a random basis."""
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0] for _ in range(2))
    return left[:, : len(values)] @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right[: len(values)]


@pytest.mark.parametrize(
    ("values", "delta", "rank"),
    [
        ((1.0, 1.0, 1.0, 1.0), 0.01, 4),
        ((97.0, 2.0, 0.6, 0.4), 0.01, 2),  # 97, 99, 99.6, 100
        ((97.0, 1.9, 0.7, 0.4), 0.01, 3),  # 97, 98.9, 99.6, 100
        ((97.0, 2.0, 0.6, 0.4), 0.05, 1),
        ((5.0,), 0.01, 1),
    ],
)
def test_effective_rank(values, delta, rank):
    assert effective_rank(diagonal(*values), delta).item() == rank
    assert effective_rank(1e-3 * diagonal(*values).mT, delta).item() == rank


def test_stable_rank():
    assert stable_rank(diagonal(2.0, 1.0, 1.0)).item() == pytest.approx(1.5)
    assert stable_rank(diagonal(3.0, 3.0, 3.0)).item() == pytest.approx(3.0)


def test_features_that_are_zero_have_no_rank():
    assert effective_rank(torch.zeros(4, 3)).item() == 0
    assert stable_rank(torch.zeros(4, 3)).item() == 0


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_the_rank_of_features_that_are_not_finite_is_unknown(broken):
    matrix = torch.tensor([[1.0, broken], [1.0, 2.0]])
    assert math.isnan(effective_rank(matrix).item())
    assert math.isnan(stable_rank(matrix).item())
    assert all(map(math.isnan, ranks_of_gram(gram_matrix(matrix))))


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_the_ranks_of_a_gram_matrix_are_those_of_its_features(shape):
    for zeros in (0, 2):
        matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
        matrix[:, :zeros] = 0
        gram = gram_matrix(matrix)
        assert (gram.dtype, len(gram)) == (torch.float64, min(shape))
        assert ranks_of_gram(gram) == pytest.approx((effective_rank(matrix).item(), stable_rank(matrix).item()))
    assert ranks_of_gram(gram_matrix(diagonal(97.0, 2.0, 0.6, 0.4)), 0.05)[0] == 1
    assert ranks_of_gram(gram_matrix(torch.zeros(4, 3))) == (0, 0)


def test_half_precision_features_have_a_rank():
    assert effective_rank(diagonal(4.0, 2.0, 1.0).to(torch.bfloat16), 0.05).item() == 3


def test_the_action_gap_is_that_of_the_best_two():
    assert action_gap(torch.tensor([[1.0, 5.0, 3.0], [2.0, 2.0, 0.0]])).item() == 1.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64])
def test_the_action_gap_does_not_depend_on_the_dtype(dtype):
    assert action_gap(torch.tensor([[60_000, -60_000], [0, 0]]).to(dtype)).item() == 60_000


def test_churn_is_the_share_of_states_with_another_greedy_action():
    before = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    after = torch.tensor([[2.0, 1.0], [2.0, 1.0], [3.0, 1.0], [0.0, 0.1]])
    assert policy_churn(before, after).item() == 0.25
    assert policy_churn(before, torch.tensor([[-math.inf, 0.0]])).item() == 0.5  # an action that is ruled out


def test_the_churn_of_values_that_are_no_numbers_is_unknown():
    known, broken = torch.zeros(3, 2), torch.zeros(3, 2)
    broken[2, 1] = math.nan
    for pair in ((known, broken), (broken, known), (broken, broken), (known[:0], known[:0])):
        assert math.isnan(policy_churn(*pair).item())


def test_the_change_is_of_all_tensors_together():
    before, after = [torch.tensor([3.0]), torch.tensor([[0.0, 4.0]])], [torch.tensor([3.0]), torch.tensor([[1.0, 4.0]])]
    assert relative_change(before, after).item() == pytest.approx(0.2)
    assert relative_change(before, before).item() == 0
    assert math.isnan(relative_change([torch.zeros(2)], [torch.zeros(2)]).item())


def test_overestimation_is_the_mean_difference():
    assert overestimation(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 2.0])).item() == 0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.int32, torch.int64, torch.float64])
def test_overestimation_does_not_depend_on_the_dtype(dtype):
    values = torch.full((4,), 60_000).to(dtype)
    assert overestimation(values, -values).item() == 120_000


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: dormant_ratio(torch.zeros(3)), r"got \[3\] and 0.025"),
        (lambda: dormant_ratio(torch.zeros(3, 2), -1.0), "tau 0 or more"),
        (lambda: dormant_ratio(torch.zeros(3, 2), math.nan), "tau 0 or more"),
        (lambda: dormant_ratio(torch.zeros(0, 2)), r"got \[0, 2\]"),
        (lambda: dormant_ratio(torch.zeros(2, 0)), r"got \[2, 0\]"),
        (lambda: effective_rank(torch.zeros(3)), r"features must be \[B, F\], got \[3\]"),
        (lambda: effective_rank(torch.zeros(3, 2), 1.0), "delta must be from 0 to below 1, got 1.0"),
        (lambda: stable_rank(torch.zeros(0, 2)), r"got \[0, 2\]"),
        (lambda: action_gap(torch.zeros(3, 1)), "two actions or more, got 1"),
        (lambda: overestimation(torch.zeros(3), torch.zeros(3, 1)), r"got \[3\] and \[3, 1\]"),
    ],
)
def test_what_has_no_metric_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_no_gradient_passes():
    x = torch.randn(4, 3, requires_grad=True)
    others = {"policy_churn": (x, x), "relative_change": ([x], [x]), "overestimation": (x, x)}
    for name in set(features.__all__) - {"ranks_of_gram"}:  # numbers
        assert not getattr(features, name)(*others.get(name, (x,))).requires_grad
