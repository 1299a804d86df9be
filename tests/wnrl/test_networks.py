import copy

import pytest
import torch
from torch import nn

from wnrl.networks import MLP, NatureCNN, QNetwork, q_network


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_nature_network_has_the_papers_layers():
    network = q_network((4, 84, 84), 18)
    kinds = [(layer.kernel_size, layer.stride) for layer in network.torso.layers if isinstance(layer, nn.Conv2d)]
    assert kinds == [((8, 8), (4, 4)), ((4, 4), (2, 2)), ((3, 3), (1, 1))]
    assert (
        count(network.torso) == (8 * 8 * 4 + 1) * 32 + (4 * 4 * 32 + 1) * 64 + (3 * 3 * 64 + 1) * 64 + (3136 + 1) * 512
    )
    assert count(network.head) == 513 * 18


def test_images_are_scaled_to_1_and_left_as_they_were():
    torso, obs = NatureCNN((4, 84, 84), 16), torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    before = obs.clone()
    torch.testing.assert_close(torso(obs), torso.layers(obs.double().div(255).float()))
    assert torch.equal(obs, before)
    assert torso(obs).shape == (2, 16)


@pytest.mark.parametrize("shape", [(3, 36, 36), (1, 36, 100), (4, 110, 84)])
def test_other_images_fit(shape):
    assert q_network(shape, 3, hidden=(8,))(torch.zeros(2, *shape, dtype=torch.uint8)).q_values.shape == (2, 3)


@pytest.mark.parametrize("shape", [(4, 35, 84), (4, 84, 20), (1, 4, 4)])
def test_images_that_are_too_small_are_refused_with_their_size(shape):
    with pytest.raises(ValueError, match=f"{shape[1]} x {shape[2]} are too small.*at least 36 x 36"):
        q_network(shape, 3)


def test_the_nature_network_has_one_hidden_layer():
    with pytest.raises(ValueError, match=r"one hidden layer, got widths \(64, 64\)"):
        q_network((4, 84, 84), 3, hidden=(64, 64))


def test_mlp_is_its_formula():
    torso, obs = MLP((2, 3), (5, 4)), torch.randn(7, 2, 3)
    first, second = torso.layers[1], torso.layers[3]
    hidden = (obs.reshape(7, 6) @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(torso(obs), (hidden @ second.weight.T + second.bias).clamp(min=0))
    assert torso.out_features == 4


def test_mlp_takes_integers():
    assert MLP((3,), (4,))(torch.ones(2, 3, dtype=torch.uint8)).dtype == torch.float32


def test_values_are_linear_in_the_features_and_may_be_negative():
    network, obs = q_network((3,), 2, hidden=(4,)), torch.randn(50, 3)
    values = network(obs).q_values
    torch.testing.assert_close(values, network.head(network.torso(obs)))
    assert values.min() < 0
    assert values.shape == (50, 2)


def test_the_head_is_computed_in_float32_under_autocast():
    network, obs = q_network((8,), 2, hidden=(16,)), torch.randn(5, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = network.torso(obs)
        values = network(obs).q_values
    assert features.dtype == torch.bfloat16
    assert values.dtype == torch.float32
    assert torch.equal(values, network.head(features.float()))


def test_parameters_come_from_the_seed_alone():
    first = q_network((3,), 2, hidden=(4,), seed=1)
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    again, other = q_network((3,), 2, hidden=(4,), seed=1), q_network((3,), 2, hidden=(4,), seed=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.head.weight, other.head.weight)


def test_a_network_can_be_copied_with_its_function():
    network = QNetwork(MLP((3,), (4,)), 2)
    obs = torch.randn(2, 3)
    assert torch.equal(copy.deepcopy(network)(obs).q_values, network(obs).q_values)
