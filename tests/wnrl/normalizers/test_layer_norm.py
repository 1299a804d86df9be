"""wnrl.normalizers.layer_norm: mean and variance of one example, after a dense or a convolutional layer."""

import pytest
import torch
from torch import nn

from wnrl.normalizers.layer_norm import ChannelLayerNormalized, LayerNormalized
from wnrl.normalizers.normalize import normalize


def make(kind="dense"):
    torch.manual_seed(0)
    if kind == "dense":
        return LayerNormalized.convert(nn.Linear(5, 4)), torch.randn(6, 5)
    return LayerNormalized.convert(nn.Conv2d(3, 4, 3)), torch.randn(6, 3, 5, 5)


def test_literal_numbers():
    layer = LayerNormalized.convert(nn.Linear(1, 2, bias=False))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0], [3.0]]))
        layer.norm.weight.copy_(torch.tensor([10.0, 100.0]))
        layer.norm.bias.copy_(torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(layer(torch.tensor([[5.0], [-7.0]])), torch.tensor([[-9.0, 102], [11, -98]]))


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_every_example_starts_with_mean_0_and_variance_1(kind):
    layer, x = make(kind)
    for example in layer(100 * x + 7):  # over channels and positions
        assert example.mean().item() == pytest.approx(0, abs=1e-5)
        assert example.var(correction=0).item() == pytest.approx(1, rel=1e-3)
    assert abs(layer.before_norm(100 * x + 7)[0].var(correction=0).item() - 1) > 1  # the plain layer does not


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_equal_to_the_naive_formula(kind):
    layer, x = make(kind)
    with torch.no_grad():
        layer.norm.weight.uniform_(1, 2)
        layer.norm.bias.normal_()
    shape = (-1,) if kind == "dense" else (-1, 1, 1)
    scale, shift = layer.norm.weight.view(shape), layer.norm.bias.view(shape)
    for t, example in zip(layer.before_norm(x), layer(x), strict=True):
        naive = (t - t.mean()) / (t.var(correction=0) + 1e-5).sqrt() * scale + shift
        torch.testing.assert_close(example, naive, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_an_example_does_not_depend_on_the_others(kind):
    layer, x = make(kind)
    for alone in (layer(x[:1]), layer(x[0])[None], layer.eval()(x[0])[None]):  # a batch of one, and none
        torch.testing.assert_close(alone, layer(x)[:1])


def test_one_image_as_high_as_there_are_channels():
    layer = LayerNormalized.convert(nn.Conv2d(3, 4, 1))
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
    layer, x = LayerNormalized.convert(plain), torch.randn(2, 3, *shape)
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
    layer = LayerNormalized.convert(nn.Linear(5, 4, dtype=dtype))
    assert {p.dtype for p in layer.parameters()} == {dtype}
    assert layer(torch.randn(3, 5, dtype=dtype)).dtype == dtype


def test_fold_is_a_copy_with_the_norm_in_it():
    layer, x = make("conv")
    folded = layer.fold()
    assert type(folded) is type(layer)
    assert isinstance(folded, LayerNormalized)
    assert isinstance(folded, nn.Conv2d)
    assert torch.equal(folded(x), layer(x))
    with torch.no_grad():
        layer.norm.bias.add_(1)
    torch.testing.assert_close(folded(x) + 1, layer(x))


# --- over the channels of each position


@pytest.mark.parametrize("kind", ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose2d"])
def test_channels_are_normalized_as_by_torch_where_they_come_last(kind):
    plain, dims = getattr(nn, kind)(3, 4, 2), int(kind[-2])
    layer, x = ChannelLayerNormalized.convert(plain).double(), torch.randn(6, 3, *[4] * dims).double()
    reference = nn.LayerNorm(4).double()
    with torch.no_grad():
        for parameter in layer.norm.parameters():
            parameter.normal_()
    reference.load_state_dict(layer.norm.state_dict())
    expected = reference(layer.before_norm(x).movedim(1, -1)).movedim(-1, 1)  # NHWC
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x[2]), expected[2])  # one image
    assert not torch.allclose(LayerNormalized.convert(getattr(nn, kind)(3, 4, 2)).double()(x), expected)
    gradients = [torch.autograd.grad(y.pow(3).sum(), (layer.weight, layer.bias)) for y in (layer(x), expected)]
    torch.testing.assert_close(*gradients)


def test_one_image_as_wide_as_there_are_channels_has_each_position_normalized():
    layer = ChannelLayerNormalized.convert(nn.Conv2d(3, 4, 1))
    with torch.no_grad():
        layer.norm.weight.copy_(torch.arange(1.0, 5))
    image = torch.randn(3, 4, 4)
    torch.testing.assert_close(layer(image), layer(image[None])[0])
    torch.testing.assert_close((layer(image) / layer.norm.weight.view(-1, 1, 1)).mean(0), torch.zeros(4, 4))


def test_dense_layers_are_the_same_for_both():
    torch.manual_seed(0)
    first = LayerNormalized.convert(nn.Linear(5, 4))
    second, x = ChannelLayerNormalized.convert(nn.Linear(5, 4)), torch.randn(6, 5)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x), second(x))


@pytest.mark.parametrize("norm", ["layer", "layer-channels", "layer+projected"])
def test_a_layer_of_one_output_is_left_plain(norm):
    """Its normalized output would be constant."""
    network = nn.ModuleDict({"a": nn.Linear(4, 8), "b": nn.Linear(8, 1), "c": nn.Conv2d(3, 1, 2), "d": nn.Linear(8, 2)})
    normalize(network, norm)
    assert [isinstance(layer, LayerNormalized) for layer in network.values()] == [True, False, False, False]
    assert [type(network[name]) for name in "bc"] == [nn.Linear, nn.Conv2d]
    for name in "bc":
        with pytest.raises(ValueError, match=f"leaves layer '{name}' plain: it has one unit, which layer normaliz"):
            normalize(network, norm, layers=[name])
    normalize(network, "weight", layers=["b", "c"])  # another normalizer takes them


def test_unfolding_needs_no_mode_of_torch():
    layer, plain = LayerNormalized.convert(nn.Linear(3, 4)), nn.Linear(3, 4)
    layer.unfold({**dict(plain.named_parameters()), "norm.weight": torch.full((4,), 2.0)})
    assert torch.equal(layer.weight, plain.weight)
    assert layer.norm.weight.tolist() == [2.0] * 4
    assert layer.norm.weight.requires_grad
