import pytest
import torch
from torch import nn

from wnrl.diagnostics.activations import watch
from wnrl.networks.q_network import q_network
from wnrl.normalizers.normalize import normalize


def seen_in(network, obs, **options):
    """Name and activations at each nonlinearity of a pass."""
    seen = []
    watch(network, lambda name, activations: seen.append((name, activations)), **options)
    network(obs)
    return seen


@pytest.mark.parametrize("norm", ["none", "weight", "layer"])
def test_activations_belong_to_the_layer_before(norm):
    torch.manual_seed(0)
    network = normalize(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)), norm)
    obs = torch.randn(7, 3)
    (first, tanh), (second, relu) = seen_in(network, obs)
    assert (first, second) == ("fc1", "fc2")
    torch.testing.assert_close(tanh, network[:2](obs))
    torch.testing.assert_close(relu, network[:4](obs))
    assert [name for name, _ in seen_in(network, obs, kinds=(nn.ReLU,))] == ["fc2"]


def test_positions_are_examples_and_what_is_flattened_has_units_last():
    network = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.ReLU(), nn.Linear(12, 1))
    images = torch.randn(5, 2, 3, 3)
    (_, maps), (_, flat) = seen_in(network, images)
    assert (maps.shape, flat.shape) == ((5 * 4, 3), (5, 12))
    torch.testing.assert_close(maps[:, 1], network[:2](images)[:, 1].flatten())


def test_a_nonlinearity_before_all_layers_belongs_to_none():
    assert [name for name, _ in seen_in(nn.Sequential(nn.ReLU(), nn.Linear(2, 2), nn.ReLU()), torch.ones(3, 2))] == [
        "fc"
    ]


def test_all_hidden_layers_of_a_q_network_are_seen():
    network = q_network((4,), 2, hidden=(8, 6))
    assert [activations.shape for _, activations in seen_in(network, torch.randn(3, 4))] == [(3, 8), (3, 6)]
