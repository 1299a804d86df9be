"""wnrl.weight_norm.convolutions: every dimension, transposed and grouped, against the plain layers."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from wnrl.normalizers.layer_kinds import WEIGHT_NORM_LAYERS
from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm import convolutions

KINDS = [nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]
UNITS = ["sqrt", "paper", "log"]


def dims(kind):
    return int(kind.__name__[-2])


def inputs(plain, size=4):
    return torch.randn(2, plain.in_channels, *[size] * dims(type(plain)))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    groups=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
    units=st.sampled_from(UNITS),
)
def test_preserve_and_fold_keep_the_function(kind, channels, groups, kernel, units, **arguments):
    plain = kind(channels[0] * groups, channels[1] * groups, kernel, groups=groups, **arguments)
    layer = WEIGHT_NORM_LAYERS[kind].from_plain(plain, units)
    x = inputs(plain, size=5)
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-4, atol=1e-5)
    assert repr(layer.fold()) == repr(plain)
    torch.testing.assert_close(layer.fold()(x), layer(x))
    assert layer.g.shape == (plain.out_channels,)
    assert layer.v.shape == plain.weight.shape


@pytest.mark.parametrize("kind", KINDS)
def test_each_output_channel_has_a_length_of_its_own(kind):
    layer = WEIGHT_NORM_LAYERS[kind](4, 6, 2, groups=2, bias=False)
    x = inputs(layer)
    before = layer(x)
    with torch.no_grad():
        layer.g[4] *= 3
    ratio = (layer(x) / before).transpose(0, 1).flatten(1)
    expected = torch.ones(6)
    expected[4] = 3
    torch.testing.assert_close(ratio, expected[:, None].expand_as(ratio), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_torch_parametrization_without_groups(kind):
    torch.manual_seed(0)
    plain = kind(3, 4, 2)
    dim = 1 if "Transpose" in kind.__name__ else 0
    ours, theirs = WEIGHT_NORM_LAYERS[kind].from_plain(plain, "paper"), weight_norm(copy.deepcopy(plain), dim=dim)
    x = inputs(plain)
    torch.testing.assert_close(ours(x), theirs(x))
    ours(x).square().sum().backward()
    theirs(x).square().sum().backward()
    original = theirs.parametrizations.weight
    torch.testing.assert_close(ours.g.grad, original.original0.grad.flatten())
    torch.testing.assert_close(ours.v.grad, original.original1.grad)


@pytest.mark.parametrize("kind", KINDS[3:])
def test_transposed_convolutions_take_output_sizes(kind):
    plain = kind(2, 3, 3, stride=2, output_padding=1, padding=1)
    layer = WEIGHT_NORM_LAYERS[kind].from_plain(plain)
    x = inputs(plain)
    size = [7] * dims(kind)
    torch.testing.assert_close(layer(x, output_size=size), plain(x, output_size=size))
    torch.testing.assert_close(layer(x), plain(x))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_numerically_right(kind):
    layer = WEIGHT_NORM_LAYERS[kind](2, 4, 2, groups=2).double()
    x = inputs(layer, 3).double().requires_grad_()

    def function(x, g, v, bias):
        return torch.func.functional_call(layer, {"g": g, "v": v, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(function, (x, layer.g, layer.v, layer.bias))


@pytest.mark.parametrize("kind", KINDS)
def test_round_trips(kind):
    layer = WEIGHT_NORM_LAYERS[kind](2, 3, 2)
    x = inputs(layer)
    twin = WEIGHT_NORM_LAYERS[kind](2, 3, 2)
    assert not torch.equal(twin(x), layer(x))
    twin.load_state_dict(layer.state_dict())
    for other in (twin, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), layer(x))


def test_every_plain_kind_has_its_layer():
    names = {name.removeprefix("WeightNorm") for name in dir(convolutions) if name.startswith("WeightNormConv")}
    assert names == {kind.__name__ for kind in KINDS}
    for kind in KINDS:
        assert WEIGHT_NORM_LAYERS[kind].__name__ == f"WeightNorm{kind.__name__}"
        with pytest.raises(TypeError, match=f"made from a {kind.__name__}, got Linear"):
            WEIGHT_NORM_LAYERS[kind].from_plain(nn.Linear(2, 2))


class Standardized(nn.Conv2d):
    """Its own `_conv_forward` is not linear in the weight."""

    def _conv_forward(self, input, weight, bias):
        weight = weight - weight.mean((1, 2, 3), keepdim=True)
        return super()._conv_forward(input, weight / weight.std((1, 2, 3), keepdim=True), bias) + input.mean()


def test_a_convolution_of_its_own_acts_as_with_gradients():
    layer, x = normalize(nn.Sequential(Standardized(3, 4, 3)), "weight")[0], torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        layer.v.mul_(3.0)
        layer.g.mul_(2.0)
        acted = layer(x)
    torch.testing.assert_close(acted, layer(x).detach())
