"""A PQN agent, built from its settings."""

from __future__ import annotations

from typing import Any

from agents.learner.build import build_learner, check_discrete, check_examples
from agents.learner.network import network_description
from agents.on_policy.build import build_rollout_storage, check_minibatches
from agents.on_policy.reward_scaling import RewardClipping
from agents.pqn.pqn import PQNAgent
from agents.runtime.seeds import Purpose, generator
from agents.settings.pqn import PQNSettings
from agents.settings.run import RunSettings
from envs import Environment


def describe_pqn(run: RunSettings, settings: PQNSettings, environment: Environment) -> dict[str, Any]:
    """The description of its network."""
    return network_description("q", run.network, environment, optimizer=settings.learner.optimizer)


def build_pqn(run: RunSettings, settings: PQNSettings, environment: Environment) -> PQNAgent:
    """A PQN agent for the environment, on the run's device.

    Raises:
        ValueError: the device is not available, a name is unknown, a rollout has fewer steps than minibatches, or the
            environment's actions are continuous.
    """
    check_discrete(environment, "PQN")
    check_minibatches(settings.minibatches, environment.num_envs * settings.rollout_length)
    description = describe_pqn(run, settings, environment)
    learner = build_learner(run, settings.learner, description, lambda network, obs: network(obs).q_values)
    steps = environment.num_envs * settings.rollout_length
    check_examples(learner, settings.learner, minibatch=steps // settings.minibatches, initial=steps)
    return PQNAgent(
        learner,
        build_rollout_storage(settings.rollout_length, environment, learner.device),
        RewardClipping(settings.learner.reward_clip, settings.reward_scale),
        settings,
        rng=generator(run.seed, Purpose.AGENT),
    )
