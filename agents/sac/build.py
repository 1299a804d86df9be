"""Discrete SAC, built from its settings."""

from __future__ import annotations

import math

import torch

from agents.learner.network import network_description
from agents.off_policy.build import build_learner_and_sampler
from agents.runtime.seeds import Purpose, generator
from agents.sac.sac import FixedTemperature, LearnedTemperature, SACAgent
from agents.settings.run import RunSettings
from agents.settings.sac import SACSettings
from envs import Environment


def build_sac(run: RunSettings, settings: SACSettings, environment: Environment) -> SACAgent:
    """A discrete soft actor-critic for the environment, on the run's device.

    Raises:
        ValueError: the settings do not fit the environment or the machine, see `build_learner_and_sampler`.
    """
    optimizer = settings.learner.optimizer
    description = network_description("soft-actor-critic", run.network, environment, optimizer=optimizer)
    learner, sampler = build_learner_and_sampler(
        run, settings, environment, description, lambda network, obs: network(obs).policy.logits, "SAC"
    )
    temperature = build_temperature(settings, environment.num_actions, learner.device)
    learner.optimizer.add_param_group({"params": list(temperature.parameters())})
    return SACAgent(learner, temperature, sampler, settings, rng=generator(run.seed, Purpose.AGENT))


def build_temperature(
    settings: SACSettings, num_actions: int, device: torch.device
) -> LearnedTemperature | FixedTemperature:
    """Its entropy coefficient."""
    if settings.temperature != "auto":
        return FixedTemperature(settings.temperature).to(device)
    target_entropy = settings.target_entropy * math.log(num_actions)
    return LearnedTemperature(settings.temperature_start, target_entropy).to(device)
