"""wnrl.normalizers: conversion in place, folding, refreshing and soft updates."""

import copy

import pytest
import torch
from torch import nn

from wnrl.normalizers import NORMALIZERS, fold, normalize, polyak, refresh
from wnrl.weight_norm import WeightNormConv2d, WeightNormLayer, WeightNormLinear


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 2)
    )


def images(batch=4):
    return torch.randn(batch, 3, 5, 5)


def step(network):
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    network(images()).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("norm", NORMALIZERS)
@pytest.mark.parametrize("units", ["sqrt", "paper"])
def test_normalizing_and_folding_keep_the_function(norm, units):
    network, x = make_network().eval(), images()
    expected = network(x)
    returned = normalize(network, norm, units=units)
    assert returned is network
    torch.testing.assert_close(network(x), expected)
    torch.testing.assert_close(fold(network)(x), expected)


def test_every_layer_is_converted_with_its_units():
    network = normalize(make_network(), "weight", units="paper")
    assert [type(network[i]) for i in (0, 4, 6)] == [WeightNormConv2d, WeightNormLinear, WeightNormLinear]
    assert all(network[i].units == "paper" for i in (0, 4, 6))
    assert "4.v" in dict(network.named_parameters())
    assert "4.weight" not in dict(network.named_parameters())


def test_none_changes_nothing():
    network = make_network()
    before = dict(network.named_modules())
    normalize(network, "none")
    assert dict(network.named_modules()) == before


def test_output_stays_plain_on_request():
    network = normalize(make_network(), "weight", normalize_output=False)
    assert type(network[4]) is WeightNormLinear
    assert type(network[6]) is nn.Linear


def test_a_single_layer_is_returned_normalized():
    layer = nn.Linear(3, 2)
    new = normalize(layer, "weight")
    assert type(new) is WeightNormLinear
    assert type(fold(new)) is nn.Linear
    torch.testing.assert_close(new(torch.ones(1, 3)), layer(torch.ones(1, 3)))


def test_a_shared_layer_stays_shared():
    shared = nn.Linear(4, 4)
    network = normalize(nn.Sequential(shared, nn.Tanh(), shared, nn.Sequential(shared)), "weight")
    assert network[0] is network[2] is network[3][0]
    folded = fold(network)
    assert folded[0] is folded[2] is folded[3][0]
    assert type(folded[0]) is nn.Linear
    with torch.no_grad():
        network[0].g.mul_(2)
    half = copy.deepcopy(folded)
    polyak(half, network, 0.5)  # once, not once per place
    torch.testing.assert_close(half[0].weight, 1.5 * folded[0].weight)


def test_subclasses_keep_their_own_forward():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    network = normalize(nn.Sequential(Doubled(3, 3), nn.Linear(3, 2)), "weight")
    assert type(network[0]) is Doubled


def test_only_an_optimizer_built_after_trains_the_weights():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    early = torch.optim.SGD(network.parameters(), lr=0.1)
    normalize(network, "weight")
    x = torch.randn(5, 3)
    expected = network(x)
    expected.square().sum().backward()
    early.step()
    assert torch.equal(network(x), expected)  # the trap
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    assert not torch.equal(network(x), expected)


def test_fold_is_a_copy_and_leaves_the_generator_alone():
    network = normalize(make_network(), "weight").eval()
    state = torch.get_rng_state()
    folded = fold(network)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(isinstance(m, WeightNormLayer) for m in folded.modules())
    assert not {p.data_ptr() for p in folded.parameters()} & {p.data_ptr() for p in network.parameters()}
    assert not any(m.training for m in folded.modules())


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_refresh_is_exact_and_in_place(norm):
    network = normalize(make_network(), norm)
    folded = fold(network)
    storages = {name: tensor.data_ptr() for name, tensor in folded.state_dict().items()}
    step(network)  # moves the batch statistics too
    network.eval(), folded.eval()
    x = images()
    assert not torch.allclose(folded(x), network(x))
    refresh(folded, network)
    assert torch.equal(folded(x), network(x))
    assert {name: tensor.data_ptr() for name, tensor in folded.state_dict().items()} == storages


def test_polyak_averages_weights_and_not_parameters():
    network = normalize(make_network(), "weight")
    folded = fold(network)
    old = copy.deepcopy(folded)
    averaged = copy.deepcopy(network)
    step(network)
    polyak(folded, network, 0.25)
    expected = 0.75 * old[4].weight + 0.25 * network[4].effective_weight()
    torch.testing.assert_close(folded[4].weight.detach(), expected.detach())
    torch.testing.assert_close(folded[4].bias, 0.75 * old[4].bias + 0.25 * network[4].bias)
    torch.testing.assert_close(folded[1].weight, 0.75 * old[1].weight + 0.25 * network[1].weight)
    assert torch.equal(folded[1].running_mean, network[1].running_mean)
    with torch.no_grad():
        for target, source in zip(averaged.parameters(), network.parameters(), strict=True):
            target.lerp_(source, 0.25)
    assert not torch.allclose(averaged[4].effective_weight(), expected, rtol=1e-3, atol=1e-4)
    polyak(folded, network, 1.0)
    torch.testing.assert_close(folded[4].weight.detach(), network[4].effective_weight().detach())


def test_structures_must_match():
    network = normalize(make_network(), "weight")
    folded = fold(network)
    for wrong in (folded[:5], network, nn.Linear(1, 1)):
        with pytest.raises(ValueError, match=r"fold\(\)"):
            refresh(wrong, network)
    folded[6] = nn.Linear(8, 3)
    with pytest.raises(ValueError, match=r"6\.bias, 6\.weight"):
        polyak(folded, network, 0.5)
    with pytest.raises(ValueError, match="tau"):
        polyak(fold(network), network, 1.5)


def test_unknown_name_lists_the_nearest():
    with pytest.raises(ValueError, match=r"'wieght' \(nearest: weight\); known: none, weight"):
        normalize(make_network(), "wieght")


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_normalizing_twice_names_the_layer(norm):
    network = normalize(nn.ModuleDict({"body": make_network()}), "weight")
    with pytest.raises(ValueError, match=r"'body\.0' is already normalized"):
        normalize(network, norm)


def test_nothing_to_normalize():
    with pytest.raises(ValueError, match="no layer to normalize"):
        normalize(nn.Sequential(nn.ReLU()), "weight")
    with pytest.raises(ValueError, match="beside its output"):
        normalize(nn.Sequential(nn.Linear(1, 1)), "weight", normalize_output=False)


def test_tied_parameters_are_refused_and_the_network_left_alone():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    with pytest.raises(ValueError, match="'0' is tied"):
        normalize(network, "weight")
    assert type(network[0]) is type(network[1]) is nn.Linear
