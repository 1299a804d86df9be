import pytest
import torch

from agents.learner.gradient_norm import clip, gradient_norm


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_norm_of_a_gradient_that_is_not_finite_is_not(value):
    assert not gradient_norm([torch.tensor([1.0, value]), torch.ones(2, 2)]).isfinite()
    assert gradient_norm([]) == 0


@pytest.mark.parametrize("limit", [0.5, 10.0])
@pytest.mark.parametrize("length", [0.0, 3.0])
def test_clipping_is_that_of_torch(limit, length):
    gradients, twins = ([torch.arange(4.0) * length, torch.ones(2, 3) * length] for _ in range(2))
    parameters = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in twins]
    for parameter, gradient in zip(parameters, twins, strict=True):
        parameter.grad = gradient
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
    clip(gradients, gradient_norm(gradients), limit)
    for gradient, parameter in zip(gradients, parameters, strict=True):
        torch.testing.assert_close(gradient, parameter.grad)
    assert (gradient_norm(gradients) < norm) == (norm > limit)
    clip([], torch.zeros(()), limit)  # of no parameter
