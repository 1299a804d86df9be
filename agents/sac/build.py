"""A discrete soft actor-critic, put together from its settings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from agents.dqn.build import make_sampler
from agents.learner.network import check_discrete, make_learner, network_description
from agents.sac.sac import SAC, SACSettings
from agents.sac.temperature import FixedTemperature, LearnedTemperature
from agents.settings.run import RunSettings, check_start
from envs import Environment


def describe_sac(run: RunSettings, settings: SACSettings, environment: Environment) -> dict[str, Any]:
    """The description of its network."""
    return network_description("soft-actor-critic", run, environment)


def make_sac(run: RunSettings, settings: SACSettings, environment: Environment) -> SAC:
    """A discrete soft actor-critic for the environment, on the run's device.

    Raises:
        ValueError: the device is not there, a name is unknown, learning starts before there is a transition, the replay
            does not fit in memory, or the environment's actions are continuous.
    """
    check_discrete(environment, "SAC")
    check_start(settings, environment.num_envs)
    learner = make_learner(
        run,
        settings,
        describe_sac(run, settings, environment),
        lambda network, obs: network(obs).policy.logits,
        begin=settings.learning_starts,
    )
    temperature = make_temperature(settings, environment.num_actions, learner.device)
    learner.optimizer.add_param_group({"params": list(temperature.parameters())})
    sampler = make_sampler(run, settings, environment, learner.device)
    return SAC(learner, temperature, sampler, settings, rng=np.random.default_rng([run.seed, 1]))


def make_temperature(
    settings: SACSettings, num_actions: int, device: torch.device
) -> LearnedTemperature | FixedTemperature:
    """Its temperature."""
    if settings.temperature != "auto":
        return FixedTemperature(settings.temperature).to(device)
    target_entropy = settings.target_entropy * math.log(num_actions)
    return LearnedTemperature(settings.temperature_start, target_entropy).to(device)
