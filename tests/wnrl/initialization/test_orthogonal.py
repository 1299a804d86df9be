"""wnrl.initialization.orthogonal: gains part by part, in plain and in effective weights."""

import math

import pytest
import torch
from torch import nn

from wnrl.initialization.orthogonal import orthogonal_init
from wnrl.networks.actor_critic import ORTHOGONAL_GAINS, ActorCritic, RecurrentActorCritic
from wnrl.networks.lstm_core import LSTMCore
from wnrl.networks.noisy import NoisyLinear
from wnrl.networks.policy_heads import GaussianPolicyHead, PolicyHead, ValueHead
from wnrl.networks.torsos import MLP, NatureCNN
from wnrl.normalizers.folding import fold
from wnrl.normalizers.normalize import normalize


def make(layer=nn.Linear):
    torsos = [MLP((3,), (8, 8), layer) for _ in range(2)]
    return ActorCritic(torsos[0], PolicyHead(8, 2, layer), ValueHead(8, layer), torsos[1])


def assert_orthogonal(weight, gain):
    """All singular values are the gain."""
    torch.testing.assert_close(
        torch.linalg.svdvals(weight.flatten(1)), torch.full((min(weight.flatten(1).shape),), gain)
    )


def parts(network):
    """Weights by the names of parts."""
    return [(name.split(".")[0], p) for name, p in network.named_parameters() if "weight" in name]


GAINS = {"torso": math.sqrt(2), "value_torso": math.sqrt(2), "core": 1.0, "policy": 0.01, "value": 1.0}


def test_the_gains_of_an_actor_critic_are_those_of_the_paper():
    assert ORTHOGONAL_GAINS == GAINS


def test_parts_without_a_gain_stay_as_they_are():
    network = make()
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    orthogonal_init(network, {"policy": 3.0, "unknown": 1.0})
    changed = {name for name, parameter in network.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {"policy.layer.weight", "policy.layer.bias"}
    assert_orthogonal(network.policy.layer.weight.detach(), 3.0)


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_effective_weights_are_orthogonal_with_the_gains_and_biases_are_0(norm):
    network = make()
    orthogonal_init(network, ORTHOGONAL_GAINS)
    network = fold(normalize(network, norm))
    assert len(parts(network)) == 6
    for part, weight in parts(network):
        assert_orthogonal(weight.detach(), GAINS[part])
    assert not any(p.any() for name, p in network.named_parameters() if "bias" in name)


def test_each_matrix_of_an_lstm_and_the_convolutions():
    network = RecurrentActorCritic(
        NatureCNN((1, 36, 36), 8), LSTMCore(8, 6), GaussianPolicyHead(6, 2, 0.5), ValueHead(6)
    )
    orthogonal_init(network, ORTHOGONAL_GAINS)
    assert [part for part, _ in parts(network)] == ["torso"] * 4 + ["core"] * 2 + ["policy", "value"]
    for part, weight in parts(network):
        assert_orthogonal(weight.detach(), GAINS[part])
    assert not any(p.any() for name, p in network.named_parameters() if "bias" in name)
    assert network.policy.log_std.tolist() == [0.5, 0.5]


def test_the_policy_starts_nearly_even_which_torchs_own_start_does_not_give():
    obs, network = torch.randn(50, 3), make()
    assert network(obs).policy.logits.abs().max() > 0.2
    orthogonal_init(network, ORTHOGONAL_GAINS)
    assert network(obs).policy.logits.abs().max() < 0.05
    assert network(obs).value.std() > 0.3


def test_noisy_layers_get_it_for_their_means():
    network = make(NoisyLinear)
    sigma = network.policy.layer.sigma_weight.clone()
    orthogonal_init(network, ORTHOGONAL_GAINS)
    assert_orthogonal(network.policy.layer.mean.weight.detach(), 0.01)
    assert torch.equal(network.policy.layer.sigma_weight, sigma)


def test_the_generator_decides_and_the_global_one_is_left_alone():
    networks = [make() for _ in range(3)]
    state = torch.get_rng_state()
    for network, seed in zip(networks, (1, 1, 2), strict=True):
        orthogonal_init(network, ORTHOGONAL_GAINS, torch.Generator().manual_seed(seed))
    assert torch.equal(torch.get_rng_state(), state)
    first, again, other = (network.torso.layers[1].weight for network in networks)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_normalized_network_is_refused():
    with pytest.raises(ValueError, match="comes before normalize, but the ActorCritic is normalized"):
        orthogonal_init(normalize(make(), "weight"), ORTHOGONAL_GAINS)
