"""wnrl.networks.own_torso: any module as the torso."""

import pytest
import torch
from torch import nn

import wnrl
from wnrl.networks.actor_critic import actor_critic
from wnrl.networks.architecture import Architecture
from wnrl.networks.own_torso import OwnTorso
from wnrl.networks.q_network import q_network
from wnrl.networks.soft_actor_critic import soft_actor_critic


def make(obs_shape):
    return nn.Sequential(nn.Conv2d(obs_shape[0], 4, 3), nn.ReLU())


def test_features_are_those_of_the_module_for_scaled_images():
    torso = OwnTorso((3, 6, 6), make)
    obs = torch.randint(256, (5, 3, 6, 6), dtype=torch.uint8)
    assert torso.out_features == 4 * 4 * 4
    torch.testing.assert_close(torso(obs), torso.module(obs.float() / 255).flatten(1))


def test_a_module_is_copied_as_it_is():
    mine = nn.Linear(3, 2)
    torso = OwnTorso((3,), mine)
    assert torso.module is not mine
    torch.testing.assert_close(torso(torch.ones(1, 3)), mine(torch.ones(1, 3)))


def test_the_trial_changes_nothing():
    torso = OwnTorso((3,), nn.Sequential(nn.BatchNorm1d(3), nn.Dropout()))
    assert torso.training
    assert torso.module[0].num_batches_tracked == 0


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_lazy_layers_get_their_shapes_and_nothing_else_changes():
    frozen = nn.Dropout().eval()
    made = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), frozen, nn.LazyLinear(5))
    torso = OwnTorso((3, 6, 6), lambda shape: made)
    assert torso.out_features == 5
    assert [type(layer) for layer in torso.module][0:5:4] == [nn.Conv2d, nn.Linear]
    assert (torso.module[0].in_channels, torso.module[4].in_features) == (3, 64)
    assert torso.module[1].num_batches_tracked == 0
    assert [layer.training for layer in torso.module] == [True, True, True, False, True]
    wnrl.normalize(torso.module, "weight")
    assert torso(torch.zeros(2, 3, 6, 6, dtype=torch.uint8)).shape == (2, 5)


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_of_a_lazy_module_a_copy_is_taken_where_torch_can():
    mine = nn.LazyLinear(5)
    assert OwnTorso((3,), mine).module.in_features == 3
    assert isinstance(mine, nn.LazyLinear)
    with pytest.raises(ValueError, match="lazy batch norms cannot be copied: give a function that makes it"):
        OwnTorso((3,), nn.LazyBatchNorm1d())


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_a_lazy_layer_that_is_not_used_is_named():
    torso = OwnTorso((3,), Unused())
    with pytest.raises(ValueError, match="layer 'left' has no shape yet"):
        wnrl.normalize(torso.module, "weight")


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.left = nn.Linear(3, 2), nn.LazyLinear(2)

    def forward(self, obs):
        return self.used(obs)


@pytest.mark.parametrize(
    ("module", "error", "line"),
    [
        (nn.Linear(4, 2), ValueError, r"does not take observations of shape \(3,\)"),
        (lambda shape: "no module", TypeError, "network must be a module, or make one from the shape"),
        (nn.LSTM(3, 2), ValueError, r"must return features \[B, F\], got tuple"),
        (nn.Flatten(0), ValueError, r"must return features \[B, F\], got \[6\]"),
    ],
)
def test_what_is_no_torso_is_refused(module, error, line):
    with pytest.raises(error, match=line):
        OwnTorso((3,), module)


@pytest.mark.parametrize(
    "network",
    [
        lambda own, **o: q_network((3,), 2, architecture=Architecture(own=own, dueling=True), hidden=(8,), **o),
        lambda own, **o: actor_critic((3,), num_actions=2, architecture=Architecture(own=own), **o),
        lambda own, **o: actor_critic((3,), action_size=2, architecture=Architecture(own=own), lstm=4, **o),
        lambda own, **o: soft_actor_critic((3,), 2, architecture=Architecture(own=own), **o),
    ],
)
def test_it_is_drawn_from_the_seed_and_normalized_as_the_rest(network):
    made = network(lambda shape: nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)), norm="weight", seed=1)
    own = [module for module in made.modules() if isinstance(module, OwnTorso)]
    assert own
    assert all(isinstance(torso.module[0], wnrl.WeightNormLinear) for torso in own)
    again = network(lambda shape: nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)), norm="weight", seed=1)
    for mine, other in zip(made.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
