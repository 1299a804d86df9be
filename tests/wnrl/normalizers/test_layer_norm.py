"""wnrl.normalizers.layer_norm: mean and variance of one example, after a dense or a convolutional layer."""

import pytest
import torch
from torch import nn

from wnrl.normalizers.layer_norm import LayerNormalized


def make(kind="dense"):
    torch.manual_seed(0)
    if kind == "dense":
        return LayerNormalized(nn.Linear(5, 4), -1), torch.randn(6, 5)
    return LayerNormalized(nn.Conv2d(3, 4, 3), -3), torch.randn(6, 3, 5, 5)


def test_literal_numbers():
    layer = LayerNormalized(nn.Linear(1, 2, bias=False), -1)
    with torch.no_grad():
        layer.layer.weight.copy_(torch.tensor([[1.0], [3.0]]))
        layer.norm.weight.copy_(torch.tensor([10.0, 100.0]))
        layer.norm.bias.copy_(torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(layer(torch.tensor([[5.0], [-7.0]])), torch.tensor([[-9.0, 102], [11, -98]]))


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_every_example_starts_with_mean_0_and_variance_1(kind):
    layer, x = make(kind)
    for example in layer(100 * x + 7):  # over channels and positions
        assert example.mean().item() == pytest.approx(0, abs=1e-5)
        assert example.var(correction=0).item() == pytest.approx(1, rel=1e-3)
    assert abs(layer.layer(100 * x + 7)[0].var(correction=0).item() - 1) > 1  # the plain layer does not


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_equal_to_the_naive_formula(kind):
    layer, x = make(kind)
    with torch.no_grad():
        layer.norm.weight.uniform_(1, 2)
        layer.norm.bias.normal_()
    shape = (-1,) if kind == "dense" else (-1, 1, 1)
    scale, shift = layer.norm.weight.view(shape), layer.norm.bias.view(shape)
    for t, example in zip(layer.layer(x), layer(x), strict=True):
        naive = (t - t.mean()) / (t.var(correction=0) + 1e-5).sqrt() * scale + shift
        torch.testing.assert_close(example, naive, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_an_example_does_not_depend_on_the_others(kind):
    layer, x = make(kind)
    for alone in (layer(x[:1]), layer(x[0])[None], layer.eval()(x[0])[None]):  # a batch of one, and none
        torch.testing.assert_close(alone, layer(x)[:1])


def test_one_image_as_high_as_there_are_channels():
    layer = LayerNormalized(nn.Conv2d(3, 4, 1), -3)
    with torch.no_grad():
        layer.norm.weight.copy_(torch.arange(1.0, 5))
    image = torch.randn(3, 4, 4)  # taken for a batch, each of its rows would be a channel
    torch.testing.assert_close(layer(image), layer(image[None])[0])


def test_dense_layers_take_time_and_batch():
    layer, x = make()
    together = layer(x.view(2, 3, 5))
    torch.testing.assert_close(together.flatten(0, 1), layer(x))


@pytest.mark.parametrize(
    ("plain", "channel_dim", "shape"),
    [(nn.Conv1d(3, 4, 2), -2, (5,)), (nn.Conv3d(3, 4, 2), -4, (3, 3, 3)), (nn.ConvTranspose2d(3, 4, 2), -3, (3, 3))],
    ids=["conv1d", "conv3d", "transposed"],
)
def test_other_convolutions(plain, channel_dim, shape):
    layer, x = LayerNormalized(plain, channel_dim), torch.randn(2, 3, *shape)
    y = layer(x)
    torch.testing.assert_close(y.flatten(1).mean(1), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(layer(x[1]), y[1])


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_gradients(kind):
    layer, x = make(kind)
    layer.double()
    names, values = zip(*layer.named_parameters(), strict=True)

    def function(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(function, (x[:2].double().requires_grad_(), *values), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_parameters_follow_the_layers_type(dtype):
    layer = LayerNormalized(nn.Linear(5, 4, dtype=dtype), -1)
    assert {p.dtype for p in layer.parameters()} == {dtype}
    assert layer(torch.randn(3, 5, dtype=dtype)).dtype == dtype


def test_fold_is_a_copy_with_the_norm_in_it():
    layer, x = make("conv")
    folded = layer.fold()
    assert type(folded) is LayerNormalized
    assert torch.equal(folded(x), layer(x))
    with torch.no_grad():
        layer.norm.bias.add_(1)
    torch.testing.assert_close(folded(x) + 1, layer(x))
