"""wnrl.normalizers.take_over: layers with torch's own weight norm become ours."""

import copy
import gc
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import wnrl
from tests.wnrl.normalizers.torch_layers import KINDS, WRAPS, output, pairs, row_dim, wrapped
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer, letter

UNITS = ["paper", "sqrt", "log"]
each_style = pytest.mark.parametrize("style", WRAPS)
each_units = pytest.mark.parametrize("units", UNITS)
IN = torch.randn(5, 3)


@pytest.fixture(scope="module", autouse=True)
def freed():
    """torch's parametrized modules are in cycles: free them, and the watches of their weights, before other tests."""
    yield
    gc.collect()


def net(style, dim=0):
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    for index in (0, 4):
        WRAPS[style](network[index], "weight", dim)
    return network.eval()


def take(layer, norm="weight", **options):
    return wnrl.normalize(
        layer, norm, layers=[name for name, _ in layer.named_modules() if "par" not in name], **options
    )


def clean(layer):
    """Nothing of torch's weight norm is left."""
    return not (
        any(type(hook).__name__ == "WeightNorm" for hook in layer._forward_pre_hooks.values())
        or parametrize.is_parametrized(layer)
        or layer._load_state_dict_pre_hooks
        or any(isinstance(value, torch.Tensor) for value in vars(layer).values())
    )


@each_units
@each_style
@pytest.mark.parametrize("kind", KINDS)
def test_the_function_and_the_parameters_stay(kind, style, units):
    layer, inputs = wrapped(kind, style)
    expected, names = output(layer, inputs), KINDS[kind][2]
    before = {name: (pairs(layer, name)[0], *(one.detach().clone() for one in pairs(layer, name))) for name in names}
    plain_order = list(KINDS[kind][0]()._parameters)
    assert take(layer, units=units) is layer
    assert isinstance(layer, WeightNormLayer)
    assert isinstance(layer, type(KINDS[kind][0]()))
    assert clean(layer)
    torch.testing.assert_close(output(layer, inputs), expected)
    for name, (parameter, v, g) in before.items():
        own_v, own_g = layer.pair(name)
        assert own_v is parameter
        if units == "paper":
            assert torch.equal(own_g, g.flatten())
        if units != "log":
            assert torch.equal(own_v, v)
            torch.testing.assert_close(own_g * layer._scales[name], g.flatten())
    order = [name for name in layer.holders() if layer.holders()[name] is not None]
    assert order == [name for name in plain_order if name in order]
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), wnrl.fold(layer)):
        torch.testing.assert_close(output(again, inputs), expected)
    folded = wnrl.fold(layer)
    layer.pair(names[0])[1].data.add_(1.0)
    wnrl.refresh(folded, layer)
    torch.testing.assert_close(output(folded, inputs), output(layer, inputs))
    assert output(layer, inputs).ne(expected).any()


@each_units
@each_style
@pytest.mark.parametrize(("kind", "dim"), [("conv1d", 2), ("conv2d", 1), ("transposed1d", 0), ("transposed2d", 2)])
def test_lengths_along_other_dimensions(kind, dim, style, units):
    layer, inputs = wrapped(kind, style, dim)
    expected, v = output(layer, inputs), pairs(layer)[0]
    take(layer, units=units)
    torch.testing.assert_close(output(layer, inputs), expected)
    assert layer.v is v
    torch.testing.assert_close(layer.v.detach(), layer.effective_weight().detach())


@pytest.mark.parametrize("norm", ["weight", "mean-batch"])
@each_style
def test_inside_a_network(norm, style):
    network = net(style)
    expected, v = network(IN), pairs(network[0])[0]
    wnrl.normalize(network, norm, units="sqrt", ballast=1.5)
    assert all(isinstance(network[index], WeightNormLayer) and clean(network[index]) for index in (0, 2, 4))
    assert network[0].v is v
    torch.testing.assert_close(network(IN), expected)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    network.train()(IN).sum().backward()
    optimizer.step()
    assert network.eval()(IN).ne(expected).any()


@each_style
def test_only_chosen_layers_are_taken_over(style):
    for options in ({"normalize_output": False}, {"layers": ["0"]}, {"layers": lambda name, _: name == "0"}):
        network = net(style)
        before, expected = list(vars(network[4])), network(IN)
        hooks = len(network[4]._load_state_dict_pre_hooks)
        wnrl.normalize(network, "weight", **options)
        assert isinstance(network[0], WeightNormLayer)
        assert not isinstance(network[4], WeightNormLayer)
        assert not clean(network[4])
        assert list(vars(network[4])) == before
        assert len(network[4]._load_state_dict_pre_hooks) == hooks
        torch.testing.assert_close(network(IN), expected)
        pairs(network[4])[1].data.mul_(2)  # its lengths still work
        assert network(IN).ne(expected).any()
    network = net(style)
    has_g = lambda name, layer: hasattr(layer, "weight_g") or hasattr(layer, "parametrizations")  # noqa: E731
    wnrl.normalize(network, "weight", layers=has_g)
    assert [isinstance(network[index], WeightNormLayer) for index in (0, 2, 4)] == [True, False, True]


@each_style
def test_one_weight_of_an_lstm(style):
    layer, inputs = wrapped("lstm", style, names=["weight_hh_l0"])
    expected, v = output(layer, inputs), pairs(layer, "weight_hh_l0")[0]
    take(layer, units="sqrt")
    assert layer.v_hh_l0 is v
    assert list(layer._parameters)[:4] == ["g_ih_l0", "v_ih_l0", "g_hh_l0", "v_hh_l0"]
    torch.testing.assert_close(output(layer, inputs), expected)


@each_style
def test_hooks_and_frozen_lengths_stay(style):
    layer, calls = WRAPS[style](nn.Linear(3, 4)), []
    pairs(layer)[1].requires_grad_(False)
    layer.register_forward_pre_hook(lambda *_: calls.append("before"))
    layer.register_forward_hook(lambda *_: calls.append("after"))
    take(layer)
    assert clean(layer)
    layer(IN)
    assert calls == ["before", "after"]
    assert layer.v.requires_grad
    assert not layer.g.requires_grad


class Refused(nn.Module):
    def forward(self, weight):
        return 2 * weight


def with_another(style):
    layer = WRAPS[style](nn.Linear(3, 4))
    parametrize.register_parametrization(layer, "bias", Refused())
    return layer


def pruned(style):
    layer = WRAPS["hook"](nn.Linear(3, 4))
    prune.random_unstructured(layer, "weight_v", 0.5)
    return layer


REFUSED = {
    "one length": (lambda style: WRAPS[style](nn.Linear(3, 4), dim=None), "gives its weight one length .dim=None."),
    "minus one": (lambda style: WRAPS[style](nn.Linear(3, 4), dim=-1), "gives its weight one length .dim=None."),
    "another parametrization": (with_another, "is parametrized: remove its parametrization first"),
    "other kinds": (lambda _: parametrizations.orthogonal(nn.Linear(3, 4)), "is parametrized: remove"),
    "pruned": (pruned, "is parametrized: remove its parametrization first"),
}


@each_style
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_leaves_the_network_as_it_was(case, style):
    make, message = REFUSED[case]
    network = nn.Sequential(WRAPS[style](nn.Conv1d(1, 2, 2), dim=2), nn.Flatten(), make(style), nn.Linear(4, 2))
    state, kinds = {k: v.clone() for k, v in network.state_dict().items()}, [type(layer) for layer in network]
    with pytest.raises(ValueError, match=f"layer '2' .*{message}"):
        wnrl.normalize(network, "weight", units="log")
    assert kinds == [type(layer) for layer in network]
    assert list(state) == list(network.state_dict())
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@each_style
@pytest.mark.parametrize("norm", ["batch", "layer", "projected", "spectral"])
def test_other_normalizers_refuse(norm, style):
    network = net(style)
    with pytest.raises(ValueError, match="layer '0' is parametrized: remove its parametrization first"):
        wnrl.normalize(network, norm)
    assert not clean(network[0])


@each_style
def test_an_error_later_on_restores_the_values(style):
    network = nn.Sequential(WRAPS[style](nn.Conv1d(1, 2, 2), dim=2), nn.Flatten(), WRAPS[style](nn.Linear(4, 2)))
    pairs(network[0])[1].data.mul_(2)
    pairs(network[2])[1].data[0] = 0.0
    x, before = torch.randn(2, 1, 3), pairs(network[0])[0].detach().clone()
    expected = network(x)
    with pytest.raises(ValueError, match="layer '2' cannot be taken over: a row of zeros has no logarithm"):
        wnrl.normalize(network, "weight", units="log")
    assert torch.equal(pairs(network[0])[0], before)
    assert torch.equal(network(x), expected)


@each_style
def test_shared_directions(style):
    network = net(style)
    v, _ = pairs(network[0])
    other = nn.Linear(3, 4)
    other.weight = v
    with pytest.raises(ValueError, match="its v is also the weight of another module"):
        wnrl.normalize(nn.ModuleList([network[0], other]), "weight")
    twice = nn.Sequential(net(style)[0], nn.Linear(4, 3))
    twice.append(twice[0])
    expected = twice(IN)
    wnrl.normalize(twice, "weight")
    torch.testing.assert_close(twice(IN), expected)


@each_style
def test_subclasses_and_states(style):
    class Doubled(nn.Linear):
        def forward(self, input):
            return 2 * super().forward(input)

    layer = WRAPS[style](Doubled(3, 4))
    expected, state = layer(IN), {name: value.clone() for name, value in layer.state_dict().items()}
    take(layer, units="sqrt")
    assert isinstance(layer, Doubled)
    torch.testing.assert_close(layer(IN), expected)
    layer.v.data.normal_()
    layer.load_state_dict(state)  # of the time before
    torch.testing.assert_close(layer(IN), expected)
    wnrl.remove(layer)
    assert type(layer) is Doubled
    assert row_dim(layer) == 0
    torch.testing.assert_close(layer(IN), expected)


def test_letter_names_the_pair():
    assert [letter(which, "weight_hh_l0") for which in "gv"] == ["g_hh_l0", "v_hh_l0"]
