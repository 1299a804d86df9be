"""wnrl.networks.architecture: torsos by name, drawing from a seed, and normalizing parts one by one."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from wnrl.networks.actor_critic import actor_critic
from wnrl.networks.architecture import Architecture, make_torso, normalize_each, seeded
from wnrl.networks.q_network import q_network
from wnrl.networks.soft_actor_critic import soft_actor_critic
from wnrl.networks.torsos import MLP, ImpalaCNN, MinAtarCNN, NatureCNN
from wnrl.normalizers.normalize import normalize
from wnrl.normalizers.spectral_norm import SpectralNormalized
from wnrl.weight_norm.dense import WeightNormLinear


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"torso": "resnet"}, "torso must be one of auto, nature, impala, minatar, mlp, got 'resnet'"),
        ({"distribution": "c51"}, "distribution must be one of none, categorical, quantile, implicit, got 'c51'"),
        ({"activation": "gelu"}, "activation must be one of relu, tanh, got 'gelu'"),
        ({"torso": "nature", "width": 2}, "width 2, blocks 2, pool 0: numbers of torso impala, got 'nature'"),
        ({"blocks": 3}, "width 1, blocks 3, pool 0: numbers of torso impala, got 'auto'"),
        ({"pool": 6}, "width 1, blocks 2, pool 6: numbers of torso impala, got 'auto'"),
        ({"shared_bias": True, "dueling": True}, "shared_bias is of a plain output layer"),
        ({"shared_bias": True, "noisy": True}, "shared_bias is of a plain output layer"),
        ({"shared_bias": True, "distribution": "quantile"}, "shared_bias is of a plain output layer"),
    ],
)
def test_architectures_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Architecture(**arguments)


def test_an_architecture_goes_through_json():
    architecture = Architecture(torso="impala", dueling=True, v_max=5.0)
    assert Architecture(**json.loads(json.dumps(dataclasses.asdict(architecture)))) == architecture


def test_a_torso_with_and_without_its_last_hidden_layer():
    dueling = Architecture(dueling=True, distribution="implicit")  # of a Q network's head, not of torsos
    assert make_torso((3,), (4, 5), dueling).out_features == 5
    assert make_torso((3,), (4, 5), dueling, last=False).out_features == 4
    assert make_torso((2, 36, 36), (6,), dueling, last=False).out_features == 64


@pytest.mark.parametrize(
    ("obs_shape", "torso", "kind"),
    [
        ((4, 36, 36), "auto", NatureCNN),
        ((4, 35, 84), "auto", MinAtarCNN),
        ((4, 10, 10), "auto", MinAtarCNN),
        ((4, 10, 10), "impala", ImpalaCNN),
        ((4, 84, 84), "minatar", MinAtarCNN),
        ((10,), "auto", MLP),
    ],
)
def test_the_torso_follows_the_observation_unless_it_is_named(obs_shape, torso, kind):
    architecture = Architecture(torso=torso)
    assert type(make_torso(obs_shape, (6,), architecture)) is kind
    assert architecture.takes_images(obs_shape) == (kind is not MLP)


def test_seeded_touches_no_generator_for_good(monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("another device's generator"))
    state = torch.get_rng_state()
    with seeded(3):
        draw = torch.randn(4)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(draw, torch.randn(4, generator=torch.Generator().manual_seed(3)))


def test_parts_are_normalized_each_by_itself_or_by_the_names_of_the_whole():
    def make():
        return nn.ModuleList(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)) for _ in range(2))

    network, whole = make(), normalize(make(), "spectral")
    normalize_each(network, network, "spectral")
    spectral = [[isinstance(layer, SpectralNormalized) for part in n for layer in part] for n in (network, whole)]
    assert spectral[0] == [False, True, False] * 2
    assert spectral[1] == [False] * 4 + [True, False]  # what it would be for the whole
    named = make()
    normalize_each(named, named, "weight", layers=["1.0"])
    assert [type(m) for m in named.modules()].count(WeightNormLinear) == 1
    assert type(named[1][0]) is WeightNormLinear


@pytest.mark.parametrize(
    "make",
    [
        lambda obs_shape, **options: q_network(obs_shape, 3, **options),
        lambda obs_shape, **options: actor_critic(obs_shape, num_actions=3, **options),
        lambda obs_shape, **options: soft_actor_critic(obs_shape, 3, **options),
    ],
    ids=["q", "actor-critic", "soft-actor-critic"],
)
def test_the_convolutions_of_residual_blocks_are_normalized_alone(make):
    impala = Architecture(torso="impala", blocks=1)
    network = make((2, 16, 16), hidden=(8,), architecture=impala, norm="spectral", norm_layers="residual")
    normalized = {name for name, layer in network.named_modules() if isinstance(layer, SpectralNormalized)}
    assert normalized == {name for name, _ in network.named_modules() if name.endswith(("conv1", "conv2"))} != set()
    make((3,), hidden=(8,), norm="none", norm_layers="residual")  # nothing is normalized
    with pytest.raises(ValueError, match="norm_layers residual is for networks with residual blocks"):
        make((3,), hidden=(8,), norm="weight", norm_layers="residual")
