"""agents.off_policy.build: a replay buffer, and what samples from it."""

import pytest
import torch

from agents.off_policy.build import build_learner_and_sampler, build_sampler
from agents.off_policy.update import PrioritizedSampler, UniformSampler
from agents.settings.flat import replace
from envs import Chain, Gym
from tests.agents.dqn_family import RUN, make, settings
from wnrl.replay.prioritized import PrioritizedReplay
from wnrl.replay.uniform import Replay


def test_samplers():
    run, cpu = replace(RUN, steps=1_100), torch.device("cpu")
    uniform = build_sampler(run, settings(), Chain(3), cpu)
    assert (type(uniform), type(uniform.replay)) == (UniformSampler, Replay)
    numbers = {"prioritized": True, "priority_exponent": 0.7, "priority_beta": 0.4}
    prioritized = build_sampler(run, settings(**numbers), Chain(3), cpu)
    assert (type(prioritized), type(prioritized.replay)) == (PrioritizedSampler, PrioritizedReplay)
    assert prioritized.replay.get_state()["config"]["alpha"] == 0.7
    betas = [prioritized._schedule(step) for step in (0, 100, 600, 1_100, 9_000)]
    assert betas == pytest.approx([0.4, 0.4, 0.7, 1.0, 1.0])


def test_the_learner_and_its_sampler_are_on_one_device():
    description = make(Chain(3)).learner.description
    parts = RUN, settings(learning_starts=100), Chain(3), description, lambda network, obs: network(obs).q_values
    learner, sampler = build_learner_and_sampler(*parts, "DQN")
    assert learner.device == sampler.replay.generator.device
    assert len(sampler.replay) == 0
    assert learner.description == description


def test_what_does_not_fit_is_refused_with_the_agents_name():
    def build(environment, **changes):
        return build_learner_and_sampler(RUN, settings(**changes), environment, {}, lambda network, obs: obs, "Mine")

    with pytest.raises(ValueError, match="Mine takes discrete actions"):
        build(Gym("Pendulum-v1", 1))
    with pytest.raises(ValueError, match="learning_starts must be at least 7 for 8 environments"):
        build(Chain(8), learning_starts=6, train_interval=2)
