"""agents.off_policy.build: a replay buffer, and what samples from it."""

import pytest
import torch
from torch import nn

from agents.off_policy.build import build_learner_and_sampler, build_sampler
from agents.off_policy.update import PrioritizedSampler, UniformSampler
from agents.settings.flat import replace
from agents.training.trainer import Trainer
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


@pytest.mark.parametrize(
    ("run", "numbers", "message"),
    [
        ({"norm": "batch"}, {"batch_size": 1}, "norms with batch statistics need 2 examples or more in each minibatch"),
        ({"norm": "mean-batch"}, {"batch_size": 1}, "norms with batch statistics need 2 examples or more"),
        ({}, {"init": "data", "init_batch": 1}, "init data needs 2 observations or more for its statistics"),
        ({}, {"replay_size": 3}, "replay_size must be above num_envs, 3, got 3"),
    ],
)
def test_too_few_examples_are_refused(run, numbers, message):
    environment = Chain(3)
    description, outputs = {**make(environment).learner.description, "norm": run.get("norm", "weight")}, nn.Identity()
    with pytest.raises(ValueError, match=message):
        build_learner_and_sampler(replace(RUN, **run), settings(**numbers), environment, description, outputs, "X")
    more = {name: value + 1 for name, value in numbers.items() if name != "init"}
    build_learner_and_sampler(
        replace(RUN, **run), settings(**{**numbers, **more}), environment, description, outputs, "X"
    )


@pytest.mark.parametrize("prioritized", [False, True])
def test_the_smallest_replay_that_is_allowed_always_holds_a_transition(prioritized):
    environment = Chain(2, length=2)
    sizes = {"replay_size": 3, "batch_size": 2, "learning_starts": 12, "train_interval": 1}
    agent = make(environment, prioritized=prioritized, **sizes)
    Trainer(agent, environment, seed=0).run(300)
    assert agent.learner.num_updates == 288
