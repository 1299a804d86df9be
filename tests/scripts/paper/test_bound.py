import math

import pytest
import torch
from paper.bound import Bound, bits_per_dimension

BOUND = Bound(torch.tensor([-10.0, -20.0]), torch.tensor([[1.0, 0.0, 4.0], [3.0, 0.0, 8.0]]))  # two images, K = 3


def test_the_bound_is_likelihood_minus_divergence():
    assert BOUND.nats.tolist() == [-15, -31]
    assert BOUND.loss().item() == 23


@pytest.mark.parametrize(("free", "loss"), [(0, 23), (1, 24), (2, 25), (5, 31)])
def test_free_nats_are_counted_per_group_after_the_mean_over_images(free, loss):
    """Mean divergences 2, 0 and 6; the likelihood's mean is −15."""
    assert BOUND.loss(free).item() == loss


def test_a_free_group_has_no_gradient():
    divergence = BOUND.divergence.clone().requires_grad_()
    Bound(BOUND.log_likelihood, divergence).loss(3.0).backward()
    assert divergence.grad.tolist() == [[0, 0, 0.5], [0, 0, 0.5]]


def test_an_estimate_below_zero_is_not_cut_off():
    assert Bound(torch.zeros(1), torch.tensor([[-1.0, 2.0]])).loss().item() == 1


def test_bits_per_dimension():
    assert bits_per_dimension(-64 * math.log(2), 64) == pytest.approx(1)
    assert bits_per_dimension(-3072 * math.log(256), 3072) == pytest.approx(8)
