"""An agent of the DQN family, built from its settings."""

from __future__ import annotations

from typing import Any

from agents.dqn.dqn import DQNAgent
from agents.dqn.objectives import make_objective
from agents.learner.network import network_description
from agents.off_policy.build import build_learner_and_sampler
from agents.runtime.seeds import Purpose, generator
from agents.settings.dqn import DQNSettings
from agents.settings.run import RunSettings
from envs import Environment


def build_dqn(run: RunSettings, settings: DQNSettings, environment: Environment) -> DQNAgent:
    """An agent of the DQN family for the environment, on the run's device.

    Raises:
        ValueError: the settings do not fit the environment or the machine, see `build_learner_and_sampler`.
    """
    description = describe_dqn(run, settings, environment)
    learner, sampler = build_learner_and_sampler(
        run, settings, environment, description, lambda network, obs: network(obs).q_values, "DQN"
    )
    return DQNAgent(learner, sampler, make_objective(settings), settings, rng=generator(run.seed, Purpose.AGENT))


def describe_dqn(run: RunSettings, settings: DQNSettings, environment: Environment) -> dict[str, Any]:
    """The description of its network."""
    architecture = {
        "dueling": settings.dueling,
        "gradient_scale": settings.dueling_gradient_scale,
        "shared_bias": settings.shared_bias,
        "noisy": settings.noisy,
        "distribution": settings.distribution,
        "atoms": settings.atoms,
        "v_min": settings.v_min,
        "v_max": settings.v_max,
        "quantiles": settings.acting_taus if settings.distribution == "implicit" else settings.quantiles,
    }
    return network_description("q", run.network, environment, architecture, optimizer=settings.learner.optimizer)
