"""agents.pqn.build: the parts of a PQN agent, and the places of layer norm in its networks."""

import pytest
import torch
from torch import nn

from agents.learner.network import make_network
from agents.pqn.build import build_pqn, describe_pqn
from agents.settings.flat import from_flat, replace
from agents.settings.pqn import PQNSettings
from agents.settings.run import RunSettings
from envs import Chain, Gym
from tests.agents.environments import Clockwork
from wnrl.normalizers.layer_norm import ChannelLayerNormalized, LayerNormalized
from wnrl.weight_norm.dense import WeightNormLinear

RUN = from_flat(RunSettings, env="Chain", hidden=(8, 6), device="cpu", seed=3)
NUMBERS = from_flat(PQNSettings, rollout_length=5, minibatches=2)


def test_the_parts_of_an_agent():
    agent = build_pqn(RUN, NUMBERS, Chain(4))
    assert isinstance(agent.network.torso.layers[1], WeightNormLinear)
    assert type(agent.acting.torso.layers[1]) is nn.Linear
    assert agent.storage.get_state()["obs"].shape == (5, 4, 5)
    assert agent.learner.optimizer.defaults["lr"] == NUMBERS.learner.learning_rate


def test_the_seed_decides_about_the_network():
    first, again, other = (build_pqn(replace(RUN, seed=seed), NUMBERS, Chain(4)) for seed in (3, 3, 4))
    weights = [agent.network.head.v for agent in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_torsos_flags_reach_the_network():
    run = replace(RUN, env=None, game="Pong", hidden=(16,), torso="impala", impala_width=2, impala_blocks=1)
    description = describe_pqn(run, NUMBERS, Clockwork(1, obs_shape=(4, 84, 84)))
    assert description["architecture"] == {"torso": "impala", "width": 2, "blocks": 1, "pool": 0, "activation": "relu"}
    assert make_network(description).torso.out_features == 16


@pytest.mark.parametrize(("obs_shape", "hidden"), [((4, 84, 84), (512,)), ((5,), (8, 6))])
def test_layer_norm_follows_every_hidden_layer_before_its_relu_and_not_the_output(obs_shape, hidden):
    """The networks of Gallici et al. 2024's published code, pqn_atari.py and pqn_gymnax.py; inputs stay as they are."""
    run = replace(RUN, norm="layer", hidden=hidden)
    network = make_network(describe_pqn(run, NUMBERS, Clockwork(1, obs_shape=obs_shape)))
    layers = [layer for layer in network.torso.layers if not isinstance(layer, nn.Flatten)]
    assert len(layers) == (8 if len(obs_shape) == 3 else 4)
    assert all(isinstance(layer, LayerNormalized) for layer in layers[::2])
    assert not any(isinstance(layer, ChannelLayerNormalized) for layer in layers[::2])
    assert {type(layer) for layer in layers[1::2]} == {nn.ReLU}
    assert type(network.head) is nn.Linear


def test_more_minibatches_than_steps_are_refused():
    build_pqn(RUN, replace(NUMBERS, minibatches=20), Chain(4))
    with pytest.raises(ValueError, match="minibatches must be at most 20, the steps of a rollout, got 21"):
        build_pqn(RUN, replace(NUMBERS, minibatches=21), Chain(4))


def test_continuous_actions_are_refused():
    with pytest.raises(ValueError, match="PQN takes discrete actions"):
        build_pqn(RUN, NUMBERS, Gym("Pendulum-v1", 2))


@pytest.mark.parametrize(
    ("norm", "numbers", "message"),
    [
        ("batch", {"minibatches": 4}, "norms with batch statistics need 2 examples or more in each minibatch, here"),
        ("weight", {"rollout_length": 1, "init": "data"}, "init data needs 2 observations or more for its statistics"),
    ],
)
def test_too_few_examples_are_refused(norm, numbers, message):
    run = from_flat(RunSettings, env="Chain", hidden=(4,), device="cpu", norm=norm)
    with pytest.raises(ValueError, match=message):
        build_pqn(run, from_flat(PQNSettings, {"rollout_length": 4, "minibatches": 1, **numbers}), Chain(1))
    build_pqn(run, from_flat(PQNSettings, {"rollout_length": 4, "minibatches": 1, **numbers}), Chain(2))
