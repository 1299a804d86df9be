import pytest
import torch

from agents.learner.gradient_norm import gradient_norm


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_norm_of_a_gradient_that_is_not_finite_is_not(value):
    assert not gradient_norm([torch.tensor([1.0, value]), torch.ones(2, 2)]).isfinite()
    assert gradient_norm([]) == 0
