"""An agent of the DQN family, put together from its settings."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from agents.dqn.bootstraps import MakeBootstrap, MunchausenBootstrap, double_bootstrap, greedy_bootstrap
from agents.dqn.dqn import DQN, DQNSettings, Objective
from agents.dqn.objectives import CategoricalLoss, ExpectedLoss, ImplicitQuantileLoss, QuantileLoss, ValueLoss
from agents.learner.network import check_discrete, make_learner, network_description, obs_dtype
from agents.off_policy.samplers import PrioritizedSampler, Sampler, UniformSampler
from agents.settings.run import RunSettings, check_start
from envs import Environment
from wnrl.device import check_memory
from wnrl.replay.prioritized import PrioritizedReplay
from wnrl.replay.uniform import Replay, replay_bytes
from wnrl.schedules import Linear


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
    return network_description("q", run, environment, architecture)


def make_dqn(run: RunSettings, settings: DQNSettings, environment: Environment) -> DQN:
    """An agent of the DQN family for the environment, on the run's device.

    Raises:
        ValueError: the device is not there, a name is unknown, learning starts before there is a transition, the replay
            does not fit in memory, or the environment's actions are continuous.
    """
    check_discrete(environment, "DQN")
    check_start(settings, environment.num_envs)
    learner = make_learner(
        run,
        settings,
        describe_dqn(run, settings, environment),
        lambda network, obs: network(obs).q_values,
        begin=settings.learning_starts,
    )
    sampler = make_sampler(run, settings, environment, learner.device)
    objective = Objective(make_bootstrap(settings), make_value_loss(settings))
    return DQN(learner, sampler, objective, settings, rng=np.random.default_rng([run.seed, 1]))


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


def make_sampler(run: RunSettings, settings: Any, environment: Environment, device: torch.device) -> Sampler:
    """A replay that fits in memory, and what draws from it; the settings are those of an agent that replays."""
    replay = partial(make_replay, run, settings, environment, device)
    if not settings.prioritized:
        return UniformSampler(replay(Replay))
    beta = Linear(settings.priority_beta, 1.0, max(run.steps - settings.learning_starts, 0), settings.learning_starts)
    return PrioritizedSampler(replay(PrioritizedReplay, alpha=settings.priority_exponent), beta)


def make_replay(
    run: RunSettings,
    settings: Any,
    environment: Environment,
    device: torch.device,
    kind: type[Any] = Replay,
    **options: Any,
) -> Any:
    """A replay of that kind.

    Args:
        run: settings of the run.
        settings: that say `replay_size`, `n_step` and `gamma`.
        environment: whose steps it will hold.
        device: where it will be.
        kind: `Replay` or `PrioritizedReplay`.
        options: further arguments of that class.

    Raises:
        ValueError: it does not fit in memory.
    """
    shape, stack, dtype = environment.obs_shape, environment.stack, obs_dtype(environment)
    needed = replay_bytes(settings.replay_size, environment.num_envs, shape, dtype, stack=stack, n_step=settings.n_step)
    check_memory(needed, device, settings.replay_size)
    return kind(
        settings.replay_size,
        environment.num_envs,
        shape,
        dtype,
        stack=stack,
        n_step=settings.n_step,
        gamma=settings.gamma,
        device=device,
        seed=run.seed,
        **options,
    )
