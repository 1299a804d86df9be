"""wnrl.weight_norm.dense: the layers, and the traps of other implementations."""

import copy
import io
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from wnrl.normalizers.layer_kinds import WEIGHT_NORM_LAYERS
from wnrl.weight_norm.convolutions import WeightNormConv2d
from wnrl.weight_norm.dense import WeightNormBilinear, WeightNormLinear
from wnrl.weight_norm.formula import effective_weight
from wnrl.weight_norm.units import gain_of_g

UNITS = ("sqrt", "paper", "log")


def layers(units="sqrt", **keywords):
    torch.manual_seed(0)
    return [
        (WeightNormLinear(6, 5, units=units, **keywords), torch.randn(3, 6)),
        (WeightNormConv2d(4, 6, 3, stride=2, padding=1, units=units, **keywords), torch.randn(2, 4, 7, 7)),
    ]


def rows(tensor):
    return tensor.flatten(1)


def test_direction_never_shrinks_under_gradient_descent():
    torch.manual_seed(0)
    layer = WeightNormLinear(10, 4, units="paper").double()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.3)
    for _ in range(30):
        old = layer.v.detach().clone()
        x, y = torch.randn(8, 10).double(), torch.randn(8, 4).double()
        optimizer.zero_grad()
        F.mse_loss(layer(x), y).backward()
        optimizer.step()
        c = (layer.v - old).norm(dim=1) / old.norm(dim=1)
        assert (c > 0).all()
        torch.testing.assert_close(layer.v.norm(dim=1), (1 + c**2).sqrt() * old.norm(dim=1))


@pytest.mark.parametrize("plain", [nn.Linear(6, 5), nn.Conv2d(4, 6, 3)], ids=["linear", "conv"])
def test_equal_to_torch_parametrization(plain):
    ours = WEIGHT_NORM_LAYERS[type(plain)].from_plain(plain, units="paper")
    theirs = weight_norm(copy.deepcopy(plain))
    x = torch.randn(3, 6) if isinstance(plain, nn.Linear) else torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(ours(x), theirs(x))
    ours(x).square().sum().backward()
    theirs(x).square().sum().backward()
    original = theirs.parametrizations.weight
    torch.testing.assert_close(ours.g.grad, original.original0.grad.flatten())
    torch.testing.assert_close(ours.v.grad, original.original1.grad)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch says so once, of its own layer
@settings(max_examples=40, deadline=None)
@given(
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    groups=st.integers(1, 3),
    kernel=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.sampled_from([0, 1, "same", "valid"]),
    padding_mode=st.sampled_from(["zeros", "reflect", "circular", "replicate"]),
    bias=st.booleans(),
    units=st.sampled_from(UNITS),
)
def test_preserve_and_fold_keep_the_function_of_any_convolution(channels, groups, units, kernel, **arguments):
    plain = nn.Conv2d(channels[0] * groups, channels[1] * groups, kernel, groups=groups, **arguments)
    layer = WeightNormConv2d.from_plain(plain, units=units)
    x = torch.randn(2, channels[0] * groups, 6, 6)
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-4, atol=1e-5)
    assert repr(layer.fold()) == repr(plain)
    torch.testing.assert_close(layer.fold()(x), layer(x))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.booleans(), st.sampled_from(UNITS))
def test_preserve_and_fold_keep_the_function_of_any_linear(inputs, outputs, bias, units):
    plain = nn.Linear(inputs, outputs, bias=bias)
    layer = WeightNormLinear.from_plain(plain, units=units)
    x = torch.randn(3, inputs)
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.fold()(x), layer(x))
    lengths = {"sqrt": layer.g * math.sqrt(inputs), "paper": layer.g, "log": layer.g.exp()}[units]
    torch.testing.assert_close(lengths, plain.weight.norm(dim=1))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.booleans(), st.sampled_from(UNITS))
def test_preserve_and_fold_keep_the_function_of_any_bilinear(first, second, outputs, bias, units):
    plain = nn.Bilinear(first, second, outputs, bias=bias)
    layer = WeightNormBilinear.from_plain(plain, units=units)
    x = torch.randn(3, first), torch.randn(3, second)
    torch.testing.assert_close(layer(*x), plain(*x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.fold()(*x), layer(*x))
    torch.testing.assert_close(gain_of_g(layer.g, units) * layer.scale, plain.weight.flatten(1).norm(dim=1))
    assert repr(layer.fold()) == repr(plain)


def test_exponential_lengths_have_the_gradient_of_the_logarithm():
    """Section 2: g = exp(s), so ∇s = g ∇g."""
    plain = nn.Linear(5, 3)
    linear, exponential = (WeightNormLinear.from_plain(plain, units=units) for units in ("paper", "log"))
    x = torch.randn(4, 5)
    for layer in (linear, exponential):
        layer(x).square().sum().backward()
    torch.testing.assert_close(exponential.g.grad, linear.g.detach() * linear.g.grad)
    torch.testing.assert_close(exponential.v.grad, linear.v.grad)
    with torch.no_grad():
        exponential.g -= 50  # lengths stay positive
    assert (exponential.weight.norm(dim=1) > 0).all()


@pytest.mark.parametrize("units", UNITS)
def test_set_lengths(units):
    for layer, _ in layers(units):
        lengths = torch.rand(len(layer.g)) + 0.5
        direction = rows(layer.weight) / rows(layer.weight).norm(dim=1, keepdim=True)
        layer.set_lengths(lengths)
        torch.testing.assert_close(rows(layer.weight), direction * lengths[:, None])


def test_from_plain_copies_and_keeps_the_settings():
    plain = nn.Linear(4, 3, dtype=torch.float64).eval()
    plain.weight.requires_grad_(False)
    layer = WeightNormLinear.from_plain(plain)
    assert layer.v.dtype == layer.g.dtype == torch.float64
    assert not layer.training
    assert not layer.v.requires_grad
    assert not layer.g.requires_grad
    assert layer.bias.requires_grad
    assert (layer.in_features, layer.out_features) == (4, 3)
    with torch.no_grad():
        layer.v.zero_()
        layer.bias.zero_()
    assert plain.weight.all()
    assert plain.bias.all()


def test_construction_starts_like_the_plain_layer():
    torch.manual_seed(3)
    plain = nn.Conv2d(4, 8, (3, 2), stride=2, bias=False)
    torch.manual_seed(3)
    layer = WeightNormConv2d(4, 8, (3, 2), stride=2, bias=False)
    torch.testing.assert_close(layer.effective_weight(), plain.weight)
    assert layer.bias is None
    assert layer.stride == (2, 2)
    torch.manual_seed(3)
    layer.reset_parameters()
    torch.testing.assert_close(layer.effective_weight(), plain.weight)


def test_zero_row_is_preserved_and_trains():
    plain = nn.Linear(4, 3)
    with torch.no_grad():
        plain.weight[1] = 0
    layer = WeightNormLinear.from_plain(plain)
    assert not layer.weight[1].any()
    torch.testing.assert_close(layer.v[1].norm(), torch.tensor(1.0))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(torch.ones(2, 4)).square().sum().backward()
    optimizer.step()
    assert layer.weight[1].any()


def test_a_zero_row_has_no_logarithm():
    plain = nn.Linear(4, 3)
    with torch.no_grad():
        plain.weight[1] = 0
    expected = plain.weight.clone()
    with pytest.raises(ValueError, match="a row of zeros has no logarithm"):
        WeightNormLinear.convert(plain, units="log")
    assert type(plain) is nn.Linear
    assert list(dict(plain.named_parameters())) == ["weight", "bias"]
    assert torch.equal(plain.weight, expected)
    layer = WeightNormLinear(4, 3, units="log")
    before = layer.effective_weight()
    for write in (layer.set_weight, lambda zeros: nn.init.zeros_(layer.weight)):
        with pytest.raises(ValueError, match="a row of zeros has no logarithm"):
            write(torch.zeros(3, 4))
        assert torch.equal(layer.effective_weight(), before)


@pytest.mark.parametrize("units", UNITS)
def test_round_trips(units):
    for layer, x in layers(units):
        expected = layer(x)
        stored = io.BytesIO()
        torch.save(layer.state_dict(), stored)
        stored.seek(0)
        other = copy.deepcopy(layer)
        other.reset_parameters()
        assert not torch.equal(other(x), expected)
        other.load_state_dict(torch.load(stored, weights_only=True))
        for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert torch.equal(twin(x), expected)
        assert list(layer.state_dict()) == ["g", "v", "bias"]
        assert all(entry.is_floating_point() for entry in layer.state_dict().values())


def test_autocast_takes_norms_in_float32_and_products_in_bfloat16():
    for layer, x in layers():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            weight, y = layer.effective_weight(), layer(x)
        assert weight.dtype == torch.float32
        assert y.dtype == torch.bfloat16
        torch.testing.assert_close(weight, layer.effective_weight())
        y.float().sum().backward()
        assert layer.g.grad.dtype == layer.v.grad.dtype == torch.float32


def test_half_precision_layers_take_norms_in_float32():
    layer = WeightNormLinear(5000, 2, dtype=torch.bfloat16)
    v, g = layer.v.detach().float(), layer.g.detach().float()
    expected = effective_weight(v, g, layer.scale).bfloat16()
    assert torch.equal(layer.effective_weight(), expected)
    assert layer.fold().weight.dtype == torch.bfloat16


@pytest.mark.slow
def test_compiled_equals_eager_forward_and_backward():
    network = nn.Sequential(WeightNormConv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), WeightNormLinear(12, 2))
    with torch.no_grad():
        network[3].v[1] = 0  # a zero row, in the traced formula too
    x = torch.randn(2, 2, 4, 4)
    compiled = torch.compile(network, fullgraph=True)
    y = compiled(x)
    torch.testing.assert_close(y, network(x))
    actual = torch.autograd.grad(y.square().sum(), list(network.parameters()))
    expected = torch.autograd.grad(network(x).square().sum(), list(network.parameters()))
    torch.testing.assert_close(actual, expected)
    assert all(gradient.isfinite().all() for gradient in actual)


@pytest.mark.parametrize("make", [nn.Parameter, torch.Tensor.clone], ids=["parameter", "tensor"])
def test_assigning_a_weight_sets_g_and_v(make):
    layer, value = WeightNormLinear(6, 5), make(torch.randn(5, 6))
    parameters = {name: id(parameter) for name, parameter in layer.named_parameters()}
    layer.weight = value
    torch.testing.assert_close(layer.effective_weight(), value.detach())
    assert {name: id(parameter) for name, parameter in layer.named_parameters()} == parameters
    with torch.no_grad():
        value.zero_()  # a copy was taken
    assert layer.effective_weight().all()
    assert list(layer.state_dict()) == ["g", "v", "bias"]


@pytest.mark.parametrize("value", [None, nn.Linear(6, 5), 1.0, torch.zeros(6, 5)], ids=str)
def test_what_is_no_weight_cannot_be_assigned(value):
    layer = WeightNormLinear(6, 5)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises((TypeError, ValueError), match=r"cannot be set|shape"):
        layer.weight = value
    torch.testing.assert_close(layer.state_dict(), before, rtol=0, atol=0)


def test_a_computed_tensor_is_not_assigned_since_gradients_would_not_reach_it():
    layer, w = WeightNormLinear(6, 5), torch.randn(5, 6, requires_grad=True)
    with pytest.raises(RuntimeError, match="gradients would not reach this tensor"):
        layer.weight = 2 * w


@pytest.mark.parametrize("units", UNITS)
def test_set_weight(units):
    for layer, _ in layers(units):
        weight = torch.randn_like(layer.v)
        nn.init.orthogonal_(weight)
        layer.set_weight(weight)
        torch.testing.assert_close(layer.effective_weight(), weight)
        with pytest.raises(ValueError, match="has shape"):
            layer.set_weight(weight[:1])


def test_optimizer_built_after_holds_direction_and_length():
    for layer, x in layers():
        before = {name: p.detach().clone() for name, p in layer.named_parameters()}
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
        layer(x).square().sum().backward()
        optimizer.step()
        assert all(not torch.equal(before[name], p) for name, p in layer.named_parameters())


def test_square_root_units_move_as_fast_as_a_plain_row_under_adam():
    change = {}
    for units in UNITS:
        layer = WeightNormLinear(100, 1, bias=False, units=units)
        before = layer.effective_weight().norm().item()
        (layer.effective_weight().norm() * 10).backward()  # the gradient of g alone
        torch.optim.Adam([layer.g], lr=1e-3).step()
        change[units] = abs(layer.effective_weight().norm().item() - before)
    assert change["sqrt"] == pytest.approx(10 * change["paper"], rel=1e-2)


def test_extra_repr_names_the_arguments():
    assert repr(WeightNormLinear(3, 2)) == "WeightNormLinear(in_features=3, out_features=2, bias=True, units=paper)"
    assert "units=log, ballast=0.5" in repr(WeightNormLinear(3, 2, units="log", ballast=0.5))
    assert "stride=(2, 2)" in repr(WeightNormConv2d(3, 2, 1, stride=2, units="paper"))


def test_errors():
    with pytest.raises(ValueError, match="units"):
        WeightNormLinear(2, 2, units="metres")
    with pytest.raises(TypeError, match="Conv2d"):
        WeightNormLinear.from_plain(nn.Conv2d(1, 1, 1))
    with pytest.raises(TypeError, match="made from a Linear, got WeightNormLinear"):
        WeightNormLinear.from_plain(WeightNormLinear(2, 2))
    for ballast in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="ballast must be 0 or more and finite"):
            WeightNormLinear(2, 2, ballast=ballast)
