"""wnrl.normalizers.refusals: which layers cannot be normalized, why, and what strict=False leaves plain."""

import copy
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from wnrl.networks.noisy import NoisyLinear
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.describe import describe
from wnrl.normalizers.normalize import normalize
from wnrl.normalizers.refusals import Refusals, can_be_normalized, check_can_be_normalized, quoted
from wnrl.weight_norm.normalized_layer import NormalizedLayer


def network(special):
    """A hidden layer of ones own between two that every normalizer takes, and an output layer."""
    layers = [nn.Linear(4, 4), nn.ReLU(), special, nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)]
    return nn.Sequential(*layers)


class OwnName(nn.Linear):
    """A layer whose attribute is in the way of the new parameter."""

    def __init__(self):
        super().__init__(4, 4)
        self.g = 9.81


class OwnForward(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


def zero_row():
    layer = nn.Linear(4, 4)
    with torch.no_grad():
        layer.weight[1] = 0
    return layer


def hooked(layer):
    """As accelerate's `add_hook_to_module` leaves it."""
    layer.forward = partial(lambda old, x: 2 * old(x), layer.forward)
    return layer


REFUSED = {  # what builds the layer, under which normalizer and with what arguments, and the message
    "spectral norm": (lambda: spectral_norm(nn.Linear(4, 4)), "weight", {}, "layer '2' is parametrized"),
    "torch's weight norm": (lambda: weight_norm(nn.Linear(4, 4)), "batch", {}, "layer '2' is parametrized"),
    "one length": (lambda: weight_norm(nn.Linear(4, 4), dim=None), "weight", {}, "layer '2' cannot be taken over"),
    "lazy": (lambda: nn.LazyLinear(4), "weight", {}, "layer '2' has no shape yet"),
    "its own g": (OwnName, "weight", {}, "has an attribute 'g'"),
    "zero row": (zero_row, "weight", {"units": "log"}, "zero"),
    "noisy": (lambda: NoisyLinear(4, 4), "layer", {}, "is only one summand"),
    "own forward": (lambda: OwnForward(4, 4), "batch+projected", {}, "OwnForward cannot be projected"),
    **{
        f"forward of the instance under {norm}": (lambda: hooked(nn.Linear(4, 4)), norm, {}, "forward of a Linear was")
        for norm in ("batch", "mean-batch", "layer", "layer-channels", "layer+projected", "batch+projected")
    },
}


@pytest.mark.parametrize("case", REFUSED)
def test_one_layer_is_an_error_and_with_strict_off_left_plain_with_a_warning(case):
    build, norm, keywords, message = REFUSED[case]
    net = network(build())
    before = {name: type(module) for name, module in net.named_modules()}
    with pytest.raises(ValueError, match=message):
        normalize(net, norm, **keywords)
    assert {name: type(module) for name, module in net.named_modules()} == before
    with pytest.warns(UserWarning, match=rf"^these layers stay plain: .*{message}") as seen:
        normalize(net, norm, strict=False, **keywords)
    assert len(seen) == 1
    assert isinstance(net[0], NormalizedLayer)
    assert isinstance(net[4], NormalizedLayer)
    assert not any(isinstance(m, NormalizedLayer) for m in net[2].modules())
    if case != "lazy":
        net(torch.randn(3, 4)).sum().backward()
        assert any(row.reason for row in describe(net).layers if row.name.startswith("2"))


def test_spectral_norm_refuses_a_replaced_forward_too():
    net = nn.Sequential(hooked(nn.Linear(4, 4)), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"replaced on the instance.*: normalize first"):
        normalize(net, "spectral")


@pytest.mark.parametrize("build", [nn.Linear, lambda *sizes: nn.Conv1d(*sizes, 1), nn.GRUCell])
def test_weight_norm_takes_a_layer_with_a_replaced_forward(build):
    net, x = nn.Sequential(hooked(build(4, 4))), torch.randn(4, 4)
    expected = net(x)
    layer = normalize(net, "weight")[0]
    torch.testing.assert_close(net(x), expected)
    with torch.no_grad():
        layer.pair(layer.weight_names[0])[1].mul_(2.0)
    assert not torch.allclose(net(x), expected)


def test_a_layer_that_is_named_is_an_error_all_the_same():
    net = network(spectral_norm(nn.Linear(4, 4)))
    with pytest.raises(ValueError, match="layer '2' is parametrized"):
        normalize(net, "weight", layers=["0", "2"], strict=False)
    with pytest.warns(UserWarning, match="layer '2' is parametrized"):
        normalize(net, "weight", layers=lambda name, layer: name in "02", strict=False)
    assert [name for name, m in net.named_modules() if isinstance(m, NormalizedLayer)] == ["0"]


def test_what_is_tied_to_a_refused_layer_is_refused_too():
    net = network(OwnName())
    net[2].weight = net[4].weight
    with pytest.warns(UserWarning, match=r"'g'.*; the weight of layer '4' is tied"):
        normalize(net, "weight", strict=False)
    assert [name for name, m in net.named_modules() if isinstance(m, NormalizedLayer)] == ["0", "6"]
    assert net[2].weight is net[4].weight
    reasons = {row.name: row.reason for row in describe(net).layers}
    assert "would come apart" in reasons["4"]


def test_a_refused_layer_of_torchs_weight_norm_is_as_it_was():
    net = network(weight_norm(nn.Linear(4, 4), dim=None))
    x, names = torch.randn(3, 4), [name for name, _ in net[2].named_parameters()]
    expected = copy.deepcopy(net)(x)
    with pytest.warns(UserWarning, match="cannot be taken over"):
        normalize(net, "weight", strict=False)
    assert [name for name, _ in net[2].named_parameters()] == names
    torch.testing.assert_close(net(x), expected)


def test_nothing_is_left_to_normalize():
    net = nn.Sequential(spectral_norm(nn.Linear(4, 4)))
    with pytest.warns(UserWarning, match="layer '0' is parametrized"):
        assert normalize(net, "weight", strict=False) is net


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_strict_makes_no_difference_where_all_can_be_taken(norm):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nets = []
        for strict in (True, False):
            torch.manual_seed(0)
            nets.append(normalize(network(nn.Linear(4, 4)), norm, strict=strict))
    assert str(nets[0]) == str(nets[1])
    assert all(torch.equal(a, b) for a, b in zip(*(net.parameters() for net in nets), strict=True))


def test_refusals_are_collected_or_raised():
    def check(layer):
        if isinstance(layer, nn.ReLU):
            raise ValueError("not this one")

    layers = {nn.ReLU(): 1, nn.Linear(1, 1): 2}
    with pytest.raises(ValueError, match="not this one"):
        Refusals(strict=True).check(dict(layers), check)
    refusals, left = Refusals(strict=False), dict(layers)
    refusals.check(left, check)
    assert list(left.values()) == [2]
    assert [(layers[layer], text) for layer, text in refusals.reasons().items()] == [(1, "not this one")]


def test_kinds_and_names():
    assert can_be_normalized(nn.Embedding(2, 2))
    assert not can_be_normalized(nn.ReLU())
    with pytest.raises(ValueError, match=r"layer 'a\.b' is a ReLU and cannot be normalized: choose a dense"):
        check_can_be_normalized("a.b", nn.ReLU())
    check_can_be_normalized("a.b", nn.LSTM(2, 2))
    assert quoted("") == "the network itself"
