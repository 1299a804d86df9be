"""agents.learner.network: descriptions, and the networks that are built from them."""

import json
from typing import get_args

import pytest
import torch
from torch import nn

from agents.learner.network import make_network, network_description, store_channels_last
from agents.settings.flat import from_flat, replace
from agents.settings.learner import OptimizerName
from agents.settings.run import RunSettings
from agents.training.task import Task
from envs import Chain
from wnrl.networks.torsos import MLP, ImpalaCNN, NatureCNN
from wnrl.weight_norm.dense import WeightNormLinear

RUN = from_flat(RunSettings, env="Chain", hidden=(8,), device="cpu", num_envs=3)
SHAPE = {
    "kind": "q",
    "obs_shape": [4],
    "num_actions": 3,
    "hidden": [8, 6],
    "architecture": {},
    "norm": "weight",
    "units": "sqrt",
    "normalize_output": True,
}


def test_a_description_builds_the_same_network():
    description = network_description("q", replace(RUN, normalize_output=False).network, Chain(3), optimizer="adam")
    network, same = (make_network(json.loads(json.dumps(description)), seed=4) for _ in range(2))
    assert type(network.torso.layers[1]) is WeightNormLinear
    assert type(network.head) is nn.Linear
    assert (network.torso.layers[1].in_features, network.head.out_features) == (5, 2)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), same.parameters(), strict=True))
    assert not torch.equal(network.head.weight, make_network(description, seed=5).head.weight)


@pytest.mark.parametrize(
    ("kind", "options", "outputs"),
    [
        ("q", {}, "QValues"),
        ("actor-critic", {}, "ActorCriticValues"),
        ("soft-actor-critic", {}, "SoftActorCriticValues"),
    ],
)
def test_networks_of_each_kind(kind, options, outputs):
    network = make_network(network_description(kind, RUN.network, Chain(3), optimizer="adam", **options), seed=4)
    assert type(network(torch.zeros(2, 5))).__name__ == outputs


@pytest.mark.parametrize(
    ("changes", "torso"),
    [
        ({}, NatureCNN),
        ({"torso": "nature"}, NatureCNN),
        ({"torso": "impala", "impala_width": 2, "impala_blocks": 1}, ImpalaCNN),
    ],
)
def test_torsos_by_name(changes, torso):
    run = from_flat(RunSettings, game="Pong", num_envs=1, hidden=(8,), **changes)
    description = network_description("q", run.network, Task(run.task).training(run.num_envs), optimizer="adam")
    assert type(make_network(description).torso) is torso
    assert type(make_network(network_description("q", RUN.network, Chain(3), optimizer="adam")).torso) is MLP


def test_the_activation_and_the_agents_architecture_reach_the_network():
    description = network_description(
        "q", replace(RUN, activation="tanh").network, Chain(3), {"distribution": "quantile"}, optimizer="adam"
    )
    network = make_network(description)
    assert [module for module in network.modules() if isinstance(module, nn.Tanh)]
    assert network(torch.zeros(2, 5)).quantiles.shape == (2, 2, 200)


def test_normalizing_keeps_the_function_of_the_plain_network():
    obs = torch.randn(20, 4)
    plain, normalized = (make_network({**SHAPE, "norm": norm}, seed=2)(obs).q_values for norm in ("none", "weight"))
    torch.testing.assert_close(plain, normalized)


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_he_initialization_comes_before_wrapping(norm):
    network = make_network({**SHAPE, "norm": norm, "hidden": [200, 200]}, seed=2, init="he")
    for layer, inputs in ((network.torso.layers[1], 4), (network.torso.layers[3], 200), (network.head, 200)):
        bound = (3 / inputs) ** 0.5
        assert layer.weight.detach().abs().max() <= bound + 1e-5
        assert layer.weight.detach().std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
        assert torch.equal(layer.bias.detach(), torch.full_like(layer.bias, 0.1))
    other = make_network({**SHAPE, "norm": norm, "hidden": [200, 200]}, seed=3, init="he")
    assert not torch.equal(network.head.weight.detach(), other.head.weight.detach())


@pytest.mark.parametrize(("units", "scale"), [("sqrt", 8**0.5), ("paper", 1.0)])
def test_units_reach_the_layers(units, scale):
    assert make_network({**SHAPE, "units": units, "hidden": [8]}).head.scale == pytest.approx(scale)


@pytest.mark.parametrize(
    ("units", "optimizer", "resolved"),
    [
        ("auto", "sgd", "paper"),
        *[("auto", name, "sqrt") for name in get_args(OptimizerName) if name != "sgd"],
        ("sqrt", "sgd", "sqrt"),
        ("paper", "adam", "paper"),
        ("log", "sgd", "log"),
    ],
)
def test_a_description_has_the_units_of_its_optimizer_unless_the_settings_have_others(units, optimizer, resolved):
    description = network_description("q", replace(RUN, units=units).network, Chain(3), optimizer=optimizer)
    assert (description["units"], make_network(description).head.units) == (resolved, resolved)


def test_analytic_lengths_reach_the_layers():
    network = make_network({**SHAPE, "hidden": [16]}, init="analytic")
    torch.testing.assert_close(network.torso.layers[1].weight.norm(dim=1), torch.full((16,), (2 * 4 / 16) ** 0.5))


@pytest.mark.parametrize("init", ["data", "analytic"])
def test_an_initialization_without_effect_is_refused(init):
    with pytest.raises(ValueError, match="whose lengths its method gives: take 'preserve' or 'he'"):
        make_network({**SHAPE, "norm": "projected"}, init=init)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="nearest: weight"):
        make_network({**SHAPE, "norm": "wieght"})
    with pytest.raises(ValueError, match="distribution must be one of none, categorical, quantile, implicit"):
        make_network({**SHAPE, "architecture": {"distribution": "normal"}})


@pytest.mark.parametrize(("torso", "moved"), [("nature", 3), ("impala", 15), ("minatar", 0)])
def test_weights_are_stored_in_the_order_of_the_torsos_images(torso, moved):
    description = {**SHAPE, "obs_shape": [4, 36, 36], "hidden": [8], "architecture": {"torso": torso}}
    network, plain = (make_network(description, seed=4) for _ in range(2))
    parameters = list(network.parameters())
    store_channels_last(network)
    assert all(one is same for one, same in zip(network.parameters(), parameters, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), plain.parameters(), strict=True))
    strides = [a.stride() != b.stride() for a, b in zip(network.parameters(), plain.parameters(), strict=True)]
    assert sum(strides) == moved


def test_a_network_of_ones_own_keeps_its_order():
    own = make_network(
        {**SHAPE, "obs_shape": [4, 36, 36], "hidden": [], "architecture": {}, "own_torso": "python:own"},
        own_torso=lambda shape: nn.Sequential(nn.Conv2d(4, 8, 8, 4), nn.Flatten()),
    )
    before = [parameter.stride() for parameter in own.parameters()]
    store_channels_last(own)
    assert [parameter.stride() for parameter in own.parameters()] == before
