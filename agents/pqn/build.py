"""A PQN agent, put together from its settings."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.learner.build import build_learner, check_discrete, obs_dtype
from agents.learner.network import network_description
from agents.on_policy.rollout import RolloutStorage
from agents.pqn.pqn import PQN
from agents.settings.pqn import PQNSettings
from agents.settings.run import RunSettings
from envs import Environment


def describe_pqn(run: RunSettings, settings: PQNSettings, environment: Environment) -> dict[str, Any]:
    """The description of its network."""
    return network_description("q", run.network, environment)


def build_pqn(run: RunSettings, settings: PQNSettings, environment: Environment) -> PQN:
    """A PQN agent for the environment, on the run's device.

    Raises:
        ValueError: the device is not there, a name is unknown, a rollout has fewer steps than minibatches, or the
            environment's actions are continuous.
    """
    check_discrete(environment, "PQN")
    steps = environment.num_envs * settings.rollout_length
    if settings.minibatches > steps:
        raise ValueError(f"minibatches must be at most {steps}, the steps of a rollout, got {settings.minibatches}")
    description = describe_pqn(run, settings, environment)
    learner = build_learner(run, settings.learner, description, lambda network, obs: network(obs).q_values)
    storage = RolloutStorage(
        settings.rollout_length,
        environment.num_envs,
        environment.obs_shape,
        obs_dtype(environment),
        device=learner.device,
    )
    return PQN(learner, storage, settings, rng=np.random.default_rng([run.seed, 1]))
