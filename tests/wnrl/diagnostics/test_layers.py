import pytest
import torch
from torch import nn

from wnrl.diagnostics.layers import named_layers
from wnrl.networks.actor_critic import actor_critic
from wnrl.networks.architecture import Architecture
from wnrl.networks.q_network import q_network
from wnrl.networks.soft_actor_critic import soft_actor_critic
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.normalize import normalize

IMAGES = (4, 36, 36)
CONVOLUTIONS = ["conv1", "conv2", "conv3"]
STAGE = [("conv", ""), ("block", ".conv1"), ("block", ".conv2")]  # of the IMPALA network with one block


def names(network):
    return [name for name, _ in named_layers(network)]


def q(shape=IMAGES, hidden=(8,), **options):
    return q_network(shape, 3, hidden=hidden, architecture=Architecture(**options), norm="weight")


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_of_the_network_of_the_paper(norm):
    assert names(q_network(IMAGES, 3, hidden=(8,), norm=norm)) == [*CONVOLUTIONS, "fc", "q"]


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (q((4,), (8,)), ["fc", "q"]),
        (q((4,), (8, 8)), ["fc1", "fc2", "q"]),
        (q(distribution="categorical"), [*CONVOLUTIONS, "fc", "q"]),
        (q(shared_bias=True), [*CONVOLUTIONS, "fc", "q"]),
        (q(noisy=True), [*CONVOLUTIONS, "fc", "q"]),
        (q(dueling=True), [*CONVOLUTIONS, "q.value.fc", "q.value", "q.advantage.fc", "q.advantage"]),
        (q(distribution="implicit"), [*CONVOLUTIONS, "q.embedding.fc", "q.fc", "q"]),
        (
            q(torso="impala", blocks=1),
            [*(f"{stage}{number}{layer}" for number in (1, 2, 3) for stage, layer in STAGE), "fc", "q"],
        ),
        (actor_critic(IMAGES, num_actions=3, hidden=(8,)), [*CONVOLUTIONS, "fc", "policy", "value"]),
        (actor_critic((4,), num_actions=3, hidden=(8,)), ["fc", "policy", "value_torso.fc", "value"]),
        (actor_critic((4,), action_size=1, hidden=(8,), lstm=5), ["fc", "lstm", "policy", "value"]),
        (
            soft_actor_critic((4,), 3, hidden=(8,)),
            ["policy.fc", "policy", "critic1.fc", "critic1.q", "critic2.fc", "critic2.q"],
        ),
    ],
)
def test_of_our_networks(network, expected):
    assert names(network) == expected


class Own(nn.Module):
    """A network as a user writes it."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Conv1d(2, 2, 3), nn.Flatten(), nn.Linear(4, 4))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)
        self.towers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
        self.linear = nn.Linear(2, 2)


def test_of_a_network_that_is_not_ours():
    network = Own()
    assert names(network) == ["body.conv1", "body.conv2", "body", "head", "tower1", "tower2", "linear"]
    assert names(normalize(network, "weight")) == names(Own())


def test_of_lists_and_single_layers():
    assert names(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))) == ["fc1", "fc2"]
    assert names(nn.ModuleList([nn.Linear(2, 3), nn.Conv2d(1, 1, 1)])) == ["fc1", "conv2"]
    assert names(nn.Linear(2, 3)) == ["fc"]
    assert names(nn.LSTM(2, 3)) == ["lstm"]
    assert names(nn.ReLU()) == []


def test_equal_names_give_way_to_paths():
    network = nn.ModuleDict({"torso": nn.Linear(2, 2), "layers": nn.ModuleDict({"torso": nn.Linear(2, 2)})})
    assert names(network) == ["torso", "layers.torso"]


def test_a_compiled_network_has_the_names_of_a_plain_one():
    assert names(torch.compile(q((4,), (8,)))) == ["fc", "q"]
