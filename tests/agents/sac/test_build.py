"""agents.sac.build: the parts of a discrete soft actor-critic."""

import math

import pytest
import torch
from torch import nn

from agents.learner.network import make_network, network_description
from agents.off_policy.update import PrioritizedSampler, UniformSampler
from agents.sac.build import build_sac
from agents.sac.sac import FixedTemperature
from agents.settings.flat import from_flat, replace
from agents.settings.run import RunSettings
from agents.settings.sac import SACSettings
from envs import Chain, Gym
from tests.agents.environments import Clockwork
from wnrl.networks.soft_actor_critic import SoftActorCritic
from wnrl.weight_norm.dense import WeightNormLinear

RUN = from_flat(RunSettings, env="Chain", hidden=(8, 6), device="cpu", seed=3)
NUMBERS = from_flat(SACSettings, replay_size=100)


def test_the_parts_of_an_agent():
    agent = build_sac(RUN, NUMBERS, Chain(4))
    for part in (agent.network.policy, *agent.network.critics):
        assert isinstance(part.torso.layers[1], WeightNormLinear)
    for part in (agent.acting, *agent.target):
        assert type(part.torso.layers[1]) is nn.Linear
    assert len(agent.network.critics) == len(agent.target) == 2
    assert isinstance(agent.sampler, UniformSampler)


def test_the_seed_decides_about_the_network():
    first, again, other = (build_sac(replace(RUN, seed=seed), NUMBERS, Chain(4)) for seed in (3, 3, 4))
    weights = [agent.network.critics[1].head.v for agent in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(first.network.critics[0].head.v, weights[0])


def test_the_target_entropy_is_a_share_of_that_of_random_play():
    temperature = build_sac(RUN, replace(NUMBERS, target_entropy=0.3, temperature_start=0.2), Chain(4)).temperature
    assert temperature.target_entropy == pytest.approx(0.3 * math.log(2))
    assert temperature() == pytest.approx(0.2)


def test_the_optimizer_learns_the_temperature_unless_it_is_fixed():
    learned = build_sac(RUN, NUMBERS, Chain(4))
    fixed = build_sac(RUN, replace(NUMBERS, temperature=0.2), Chain(4))
    assert learned.learner.optimizer.param_groups[1]["params"] == [learned.temperature.log]
    assert isinstance(fixed.temperature, FixedTemperature)
    assert fixed.temperature() == pytest.approx(0.2)


def test_a_prioritized_replay_can_be_asked_for():
    assert isinstance(build_sac(RUN, replace(NUMBERS, prioritized=True), Chain(4)).sampler, PrioritizedSampler)


def test_the_torsos_flags_reach_the_network():
    run = replace(RUN, env=None, game="Pong", hidden=(16,), torso="impala", impala_width=2, impala_blocks=1)
    environment = Clockwork(1, obs_shape=(4, 84, 84))
    network = make_network(network_description("soft-actor-critic", run.network, environment, optimizer="adam"))
    assert isinstance(network, SoftActorCritic)
    assert network.policy.torso.out_features == network.critics[1].torso.out_features == 16


def test_continuous_actions_are_refused():
    with pytest.raises(ValueError, match="SAC takes discrete actions"):
        build_sac(RUN, NUMBERS, Gym("Pendulum-v1", 2))


def test_learning_that_starts_before_there_is_a_transition_is_refused():
    with pytest.raises(ValueError, match="learning_starts must be at least 5 for 8 environments"):
        build_sac(RUN, replace(NUMBERS, learning_starts=4), Chain(8))
