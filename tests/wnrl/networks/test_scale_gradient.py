import torch

from wnrl.networks.scale_gradient import scale_gradient


def test_values_stay_and_the_gradient_is_scaled():
    x = torch.randn(3, 4, requires_grad=True)
    scaled = scale_gradient(x, 0.25)
    assert torch.equal(scaled, x)
    (scaled * torch.arange(4.0)).sum().backward()
    assert torch.equal(x.grad, 0.25 * torch.arange(4.0).expand(3, 4))


def test_without_gradients_it_is_the_identity():
    with torch.no_grad():
        assert torch.equal(scale_gradient(torch.ones(2), 0.5), torch.ones(2))
