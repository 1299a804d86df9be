"""wnrl.initialization.initialize: initializations by name, and that of the paper's published code."""

import copy
import math

import pytest
import torch
from torch import nn

from wnrl.initialization.initialize import (
    INITIALIZATIONS,
    analytic_init,
    data_init,
    he_uniform_,
    initialize,
    lsuv_init,
    within_layer_init,
)
from wnrl.initialization.weighted_layers import weighted_layers
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm.dense import WeightNormLinear


def make_network(norm="weight", units="sqrt"):
    torch.manual_seed(0)
    layers = nn.Conv2d(4, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 6, 3, groups=2), nn.ReLU(), nn.Flatten()
    return normalize(nn.Sequential(*layers, nn.Linear(96, 16), nn.ReLU(), nn.Linear(16, 3)), norm, units=units)


def minibatch(batch=200):
    return torch.rand(batch, 4, 4, 4, generator=torch.Generator().manual_seed(1))


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("norm", ["none", "weight"])
@pytest.mark.parametrize("units", ["sqrt", "paper", "log"])
def test_he_uniform_draws_within_the_bound_of_a_rows_inputs(norm, units):
    network = make_network(norm, units)
    he_uniform_(network, generator=seeded())
    inputs = {"0": 4 * 9, "2": 2 * 9, "5": 96, "7": 16}
    for layer in weighted_layers(network):
        weight, bound = layer.layer.weight.detach().clone(), math.sqrt(3 / inputs[layer.name])
        assert 0.9 * bound < weight.abs().max().item() <= bound * (1 + 1e-5)
        assert (layer.layer.bias == 0.1).all()


def test_he_uniform_of_a_bilinear_layer():
    layer = nn.Bilinear(5, 30, 20)
    he_uniform_(layer)
    assert layer.weight.std().item() == pytest.approx(1 / math.sqrt(150), rel=0.1)


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_he_uniform_before_or_after_normalizing_is_the_same(norm):
    first, then = make_network("none"), make_network(norm)
    he_uniform_(first, generator=seeded())
    he_uniform_(then, generator=seeded())
    normalize(first, norm)
    tolerance = 0.05 if norm == "spectral" else 1e-4  # its power method goes on from another start
    x = minibatch(9)
    torch.testing.assert_close(first.eval()(x), then.eval()(x), rtol=tolerance, atol=tolerance)


def test_he_uniform_takes_another_bias_and_leaves_frozen_layers():
    network = make_network()
    network[0].requires_grad_(False)
    before = copy.deepcopy(network[0].state_dict())
    he_uniform_(network, bias=-2.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in network[0].state_dict().items())
    assert all((network[i].bias == -2.0).all() for i in (2, 5, 7))


def test_he_uniform_needs_a_layer():
    with pytest.raises(ValueError, match="ReLU has no dense or convolutional layer"):
        he_uniform_(nn.ReLU())


@pytest.mark.parametrize("norm", ["none", "weight"])
@pytest.mark.parametrize(
    ("init", "function"),
    [
        ("preserve", lambda network, x: None),
        ("data", lambda network, x: data_init(network, x, generator=seeded())),
        ("lsuv", lambda network, x: lsuv_init(network, x, generator=seeded())),
        ("within-layer", lambda network, x: within_layer_init(network, x, generator=seeded())),
        ("analytic", lambda network, x: analytic_init(network, generator=seeded())),
        ("he", lambda network, x: he_uniform_(network, generator=seeded())),
    ],
)
def test_initializations_by_name(init, function, norm):
    x, expected, network = minibatch(), make_network(norm), make_network(norm)
    function(expected, x)
    initialize(network, init, x, generator=seeded())
    state = expected.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())
    assert init in INITIALIZATIONS
    assert len(INITIALIZATIONS) == 6


def test_inputs_by_name_reach_the_network():
    networks = WeightNormLinear(4, 3), WeightNormLinear(4, 3)
    x = torch.randn(20, 4)
    initialize(networks[0], "data", x, generator=seeded())
    initialize(networks[1], "data", input=x, generator=seeded())
    assert all(torch.equal(*pair) for pair in zip(networks[0].parameters(), networks[1].parameters(), strict=True))


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (
            "analytical",
            r"unknown initialization 'analytical' \(nearest: analytic\); known: preserve, data, lsuv, "
            r"within-layer, analytic, he",
        ),
        ("zzz", r"'zzz'; known: preserve"),
    ],
)
def test_unknown_names_are_refused(init, message):
    with pytest.raises(ValueError, match=message):
        initialize(make_network(), init)


@pytest.mark.parametrize("init", ["data", "lsuv", "within-layer"])
def test_initializations_from_data_need_a_minibatch(init):
    name = init.replace("-", "_") + "_init"
    with pytest.raises(ValueError, match=f"^{name} needs statistics.*pass several hundred"):
        initialize(make_network(), init)
    with pytest.raises(ValueError, match=f"^{name} sets the lengths of rows"):
        initialize(make_network("spectral"), init, minibatch())


@pytest.mark.parametrize("units", ["sqrt", "paper", "log"])
@pytest.mark.parametrize("init", ["data", "lsuv", "within-layer", "analytic", "he"])
def test_a_plain_network_starts_with_the_weights_of_the_normalized_one(init, units):
    plain, normalized = make_network("none"), make_network("weight", units)
    for network in (plain, normalized):
        initialize(network, init, minibatch(), generator=seeded())
    for layer, other in zip(weighted_layers(plain), weighted_layers(normalized), strict=True):
        torch.testing.assert_close(
            other.layer.weight.detach().clone(), layer.layer.weight.detach(), rtol=1e-3, atol=1e-5
        )
        torch.testing.assert_close(other.layer.bias.detach(), layer.layer.bias.detach(), rtol=1e-3, atol=1e-4)
