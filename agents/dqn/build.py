"""An agent of the DQN family, built from its settings."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.dqn.bootstraps import MakeBootstrap, MunchausenBootstrap, double_bootstrap, greedy_bootstrap
from agents.dqn.dqn import DQN, Objective
from agents.dqn.objectives import CategoricalLoss, ExpectedLoss, ImplicitQuantileLoss, QuantileLoss, ValueLoss
from agents.learner.network import network_description
from agents.off_policy.build import build_learner_and_sampler
from agents.settings.dqn import DQNSettings
from agents.settings.run import RunSettings
from envs import Environment


def build_dqn(run: RunSettings, settings: DQNSettings, environment: Environment) -> DQN:
    """An agent of the DQN family for the environment, on the run's device.

    Raises:
        ValueError: the settings do not fit the environment or the machine, see `build_learner_and_sampler`.
    """
    description = describe_dqn(run, settings, environment)
    learner, sampler = build_learner_and_sampler(
        run, settings, environment, description, lambda network, obs: network(obs).q_values, "DQN"
    )
    objective = Objective(make_bootstrap(settings), make_value_loss(settings))
    return DQN(learner, sampler, objective, settings, rng=np.random.default_rng([run.seed, 1]))


def describe_dqn(run: RunSettings, settings: DQNSettings, environment: Environment) -> dict[str, Any]:
    """The description of its network."""
    architecture = {
        "dueling": settings.dueling,
        "noisy": settings.noisy,
        "distribution": settings.distribution,
        "atoms": settings.atoms,
        "v_min": settings.v_min,
        "v_max": settings.v_max,
        "quantiles": settings.acting_taus if settings.distribution == "implicit" else settings.quantiles,
    }
    return network_description("q", run.network, environment, architecture)


def make_bootstrap(settings: DQNSettings) -> MakeBootstrap:
    """What its targets take over."""
    if settings.munchausen:
        return MunchausenBootstrap(settings.munchausen_temperature, settings.munchausen_alpha, settings.munchausen_low)
    return double_bootstrap if settings.double else greedy_bootstrap


def make_value_loss(settings: DQNSettings) -> ValueLoss:
    """What compares its network's outputs with targets."""
    losses: dict[str, ValueLoss] = {
        "none": ExpectedLoss(settings.huber_delta),
        "categorical": CategoricalLoss(),
        "quantile": QuantileLoss(settings.huber_delta),
        "implicit": ImplicitQuantileLoss(settings.huber_delta, settings.taus, settings.target_taus),
    }
    return losses[settings.distribution]
