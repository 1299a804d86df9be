"""wnrl.weight_norm.weight_norm_layer: what all weight-normalized layers have in common."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn

from tests.wnrl.weight_norm.kinds import ATTENTION, DENSE, EMBEDDINGS, KINDS, loss
from wnrl.normalizers.folding import fold, remove, unfold
from wnrl.normalizers.layer_kinds import weight_norm_kind
from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm.dense import WeightNormLinear
from wnrl.weight_norm.recurrent import WeightNormLSTM
from wnrl.weight_norm.rows import rows
from wnrl.weight_norm.weight_norm_layer import change_units, letter

UNITS = ("paper", "sqrt", "log")
BALLAST = 0.8


def convert(layer, units="paper", ballast=0.0):
    return weight_norm_kind(layer).convert(layer, units, ballast)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(params=[kind for kind in KINDS if kind in DENSE | EMBEDDINGS])
def kind_of_one_weight(request):
    return request.param


def weights_by_hand(layer):
    """s·g·v/√(‖v‖² + c²) of each weight, row by row."""
    found = {}
    for name in layer.weight_names:
        v, g = rows(layer, layer._parameters[letter("v", name)]), layer._parameters[letter("g", name)]
        scale = math.sqrt(v[0].numel()) if layer.units == "sqrt" else 1.0
        lengths = g.exp() if layer.units == "log" else scale * g
        by_row = [
            length * row / (row.square().sum() + layer._ballast**2).sqrt()
            for length, row in zip(lengths, v, strict=True)
        ]
        found[name] = rows(layer, torch.stack(by_row))
    return found


@pytest.mark.parametrize("ballast", [0.0, BALLAST])
@pytest.mark.parametrize("units", UNITS)
def test_weights_are_those_of_the_formula(kind, units, ballast):
    plain = KINDS[kind][0]()
    layer, x = convert(copy.deepcopy(plain), units, ballast), KINDS[kind][1]()
    for name, weight in weights_by_hand(layer).items():
        torch.testing.assert_close(weight, plain.get_parameter(name).data, check_stride=False)  # `preserve`
    torch.testing.assert_close(layer(**x), plain(**x), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for parameter in layer.parameters(recurse=False):
            parameter.add_(0.2 * torch.randn_like(parameter))
    expected = weights_by_hand(layer)
    for name in layer.weight_names:
        torch.testing.assert_close(layer.effective_weight(name), expected[name])
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(expected.get(name, layer._parameters.get(name, parameter)))
    torch.testing.assert_close(layer(**x), plain(**x), rtol=1e-4, atol=1e-5)
    parameters = list(layer.parameters(recurse=False))
    actual = torch.autograd.grad(loss(layer(**x)), parameters)
    own = {name: expected.get(name, layer._parameters.get(name)) for name, _ in plain.named_parameters(recurse=False)}
    by_hand = torch.autograd.grad(loss(torch.func.functional_call(plain, own, (), x)), parameters)
    torch.testing.assert_close(actual, by_hand, rtol=1e-4, atol=1e-5)
    for _ in range(2):
        with torch.no_grad():
            torch.testing.assert_close(layer(**x), plain(**x), rtol=1e-4, atol=1e-5)


def test_the_ballast_is_one_more_weight_whose_input_is_0():
    torch.manual_seed(0)
    layer, x = WeightNormLinear(3, 2, bias=False, ballast=BALLAST), torch.randn(5, 3)
    wider = WeightNormLinear(4, 2, bias=False)
    with torch.no_grad():
        wider.v.copy_(torch.cat([layer.v, torch.full((2, 1), BALLAST)], 1))
        wider.g.copy_(layer.g)
    torch.testing.assert_close(layer(x), wider(torch.cat([x, torch.zeros(5, 1)], 1)))
    assert not torch.allclose(layer.weight.norm(dim=1), layer.g)


@pytest.mark.parametrize("units", ["paper", "sqrt"])
def test_with_ballast_zero_rows_have_lengths_and_learn(units):
    layer, x = nn.Linear(3, 2), torch.randn(5, 3)
    with torch.no_grad():
        layer.weight[1] = 0
    expected = layer(x)
    convert(layer, units, BALLAST)
    torch.testing.assert_close(layer(x), expected)
    assert not layer.v[1].any()  # the row itself
    torch.testing.assert_close(layer.g[1] * layer.scale, torch.tensor(BALLAST))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(x).sub(1).square().sum().backward()
    assert layer.v.grad[1].any()
    optimizer.step()
    assert layer.effective_weight()[1].any()


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("ballast", [0.0, BALLAST])
def test_lengths_and_weights_are_set(kind_of_one_weight, units, ballast):
    make, inputs = KINDS[kind_of_one_weight]
    layer, other, x = convert(make(), units, ballast), make(), inputs()
    parameters = [id(parameter) for parameter in layer.parameters()]
    lengths, before = torch.rand(len(layer.g)) + 0.5, rows(layer, layer.effective_weight()).flatten(1)
    layer.set_lengths(lengths)
    after = rows(layer, layer.effective_weight()).flatten(1)
    torch.testing.assert_close(after.norm(dim=1), lengths)
    torch.testing.assert_close(after, before / before.norm(dim=1, keepdim=True) * lengths[:, None])
    layer.set_weight(other.weight.detach())
    torch.testing.assert_close(layer.effective_weight(), other.weight.detach())
    torch.testing.assert_close(fold(layer).weight.data, other.weight.data)
    unfold(layer, other)
    torch.testing.assert_close(layer(**x), other(**x), rtol=1e-4, atol=1e-5)
    assert [id(parameter) for parameter in layer.parameters()] == parameters
    nn.init.uniform_(layer.weight, -2.0, 2.0)
    torch.testing.assert_close(fold(layer)(**x), layer(**x), rtol=1e-4, atol=1e-5)
    assert fold(layer).weight.abs().max() > 1
    v = layer.v
    expected = layer(**x)
    assert remove(layer).weight is v
    torch.testing.assert_close(layer(**x), expected, rtol=1e-4, atol=1e-5)


def test_order_of_the_parameters(kind):
    layer = convert(KINDS[kind][0]())
    plain = list(dict(KINDS[kind][0]().named_parameters(recurse=False)))
    expected = [n for name in plain for n in ((letter("g", name), letter("v", name)) if "weight" in name else (name,))]
    assert list(dict(layer.named_parameters(recurse=False))) == expected


def test_reading_is_differentiable_and_the_weight_is_an_attribute_only():
    layer = WeightNormLinear(3, 2)
    (layer.weight * torch.ones(2, 3)).sum().backward()
    assert layer.v.grad.any()
    assert layer.g.grad.any()
    assert "weight" not in dict(layer.named_parameters())
    assert layer.weight.shape == (2, 3)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            torch.testing.assert_close(layer.weight.detach().clone(), layer.effective_weight())


@pytest.mark.parametrize(("kind", "unit"), [("Linear", 1), ("Conv2d", 4), ("ConvTranspose2d", 3)])
def test_a_negative_g_turns_the_row(kind, unit):
    layer, x = convert(DENSE[kind][0]()), DENSE[kind][1]()
    weight = rows(layer, layer.effective_weight()).detach().clone()
    with torch.no_grad():
        layer.g[unit] *= -1
        weight[unit] *= -1
    torch.testing.assert_close(rows(layer, layer.effective_weight()), weight)
    y = layer(**x)
    with torch.no_grad():
        torch.testing.assert_close(layer(**x), y)
    torch.testing.assert_close(fold(layer)(**x), y)
    torch.testing.assert_close(remove(layer)(**x), y)


@pytest.mark.parametrize("new", UNITS)
@pytest.mark.parametrize("old", UNITS)
@pytest.mark.parametrize("ballast", [0.0, BALLAST])
def test_units_are_changed_in_place_with_the_same_weights(kind, old, new, ballast):
    layer = convert(KINDS[kind][0](), old, ballast)
    weights = {name: layer.effective_weight(name).detach().clone() for name in layer.weight_names}
    parameters, expected = [*layer.parameters()], convert(KINDS[kind][0](), new, ballast)
    with torch.no_grad():
        layer.effective_weight(layer.weight_names[0])  # may keep factors
    change_units([layer], new)
    assert layer.units == new
    assert [*layer.parameters()] == parameters
    for name, weight in weights.items():
        torch.testing.assert_close(layer.effective_weight(name), weight)
        with torch.no_grad():
            torch.testing.assert_close(layer.effective_weight(name), weight)
        assert layer._scales[name] == expected._scales[name]
    loaded = convert(KINDS[kind][0](), new, ballast)
    loaded.load_state_dict(layer.state_dict())
    for name, weight in weights.items():
        torch.testing.assert_close(loaded.effective_weight(name), weight)


def test_units_of_layers_that_share_g_are_changed_once():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    normalize(network, "weight", units="sqrt")
    weight, g = network[0].weight.detach().clone(), network[0].g.detach().clone()
    change_units(network, "paper")
    assert network[0].g is network[1].g
    torch.testing.assert_close(network[0].g.detach(), 2 * g)
    for layer in network:
        torch.testing.assert_close(layer.weight.detach(), weight)
    with pytest.raises(ValueError, match="units"):
        change_units(network, "metres")


def test_a_dynamic_class_is_made_again_where_it_is_missing():
    class Own(nn.Linear):
        pass

    layer = convert(Own(3, 2))
    assert type(layer) is type(convert(Own(5, 4)))
    assert type(layer).__name__ == "WeightNormOwn"
    assert type(layer).__mro__[1:3] == (Own, WeightNormLinear)
    made = type(layer)(3, 2, units="sqrt")  # its own constructor, too
    assert made.g.shape == (2,)
    assert made.units == "sqrt"


def test_errors_leave_the_layer_as_it_was():
    layer = nn.LSTM(3, 4)
    before, attributes = dict(layer.named_parameters()), dict(vars(layer))
    with torch.no_grad():
        layer.weight_hh_l0[3] = 0
    for options, message in ((("metres",), "units must be"), (("paper", -1.0), "ballast"), (("log",), "no logarithm")):
        with pytest.raises(ValueError, match=message):
            WeightNormLSTM.convert(layer, *options)
        assert type(layer) is nn.LSTM
        assert vars(layer) == attributes
        assert all(layer.get_parameter(name) is parameter for name, parameter in before.items())
    assert layer(torch.randn(5, 2, 3))[0].shape == (5, 2, 4)


def test_attention_has_lengths_for_each_projection():
    for kind, count in (("MultiheadAttention", 1), ("MultiheadAttention of other sizes", 3)):
        layer = convert(ATTENTION[kind][0](), "sqrt", BALLAST)
        assert len(layer.weight_names) == count
        assert "units=sqrt, ballast=0.8" in repr(layer)


@pytest.mark.parametrize("make", [lambda: nn.Linear(4, 3), lambda: nn.Conv1d(2, 3, 2), lambda: nn.Embedding(3, 4)])
def test_operators_of_the_attribute_write(make):
    layer = normalize(nn.ModuleList([make()]), "weight", layers=["0"])[0]
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight *= 2
        layer.weight += 1
        layer.weight = layer.weight.neg_()
    torch.testing.assert_close(layer.weight.detach(), -(2 * before + 1))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("norm", ["weight", "projected"])
def test_recurrent_layers_are_pickled_again_and_again(kind, norm):
    layer, x = kind(3, 4), torch.randn(2, 1, 3)
    normalize(nn.ModuleList([layer, nn.Linear(2, 2)]), norm)
    for _ in range(3):
        twin = pickle.loads(pickle.dumps(copy.deepcopy(layer)))
        torch.testing.assert_close(twin(x)[0], layer(x)[0])
        layer = twin


def test_layers_that_share_v_alone_keep_their_functions():
    network, x = normalize(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), "weight"), torch.randn(2, 3)
    network[1].v = network[0].v
    expected = network(x)
    torch.testing.assert_close(fold(network)(x), expected)
    torch.testing.assert_close(remove(network)(x), expected)
