"""Parts of a run built from its settings: the environment, the network, the agent."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from agents.devices import resolve_device, resolve_dtype
from agents.dqn import DQN, DQNSettings
from agents.settings import RunSettings, emulator_options
from envs import Environment, make
from wnrl.initialization import initialize
from wnrl.memory import check_memory
from wnrl.networks import QNetwork, q_network
from wnrl.replay import Replay, replay_bytes
from wnrl.schedules import Linear
from wnrl.weighted_layers import check_lengths_are_free, layers_to_initialize


def make_training_environment(settings: RunSettings) -> Environment:
    """N environments to learn in; a lost life ends the return there if the settings say so."""
    options = emulator_options(settings)
    if settings.game is not None:
        options["life_loss"] = settings.life_loss
    return make(game=settings.game, env=settings.env, num_envs=settings.num_envs, **options)


def make_evaluation_environment(settings: RunSettings, num_envs: int, **options: Any) -> Environment:
    """Environments to measure true scores in: whole games, whatever a lost life means in training."""
    return make(game=settings.game, env=settings.env, num_envs=num_envs, **emulator_options(settings), **options)


def network_description(settings: RunSettings, environment: Environment) -> dict[str, Any]:
    """The arguments of `make_network`, JSON-able, so that a saved model can be built again."""
    return {
        "obs_shape": list(environment.obs_shape),
        "num_actions": environment.num_actions,
        "hidden": list(settings.hidden),
        "norm": settings.norm,
        "units": settings.units,
        "normalize_output": settings.normalize_output,
    }


def make_network(
    *,
    obs_shape: list[int],
    num_actions: int,
    hidden: list[int],
    norm: str,
    units: str,
    normalize_output: bool | None,
    seed: int = 0,
    init: str = "preserve",
) -> QNetwork:
    """A Q network: normalized, and initialized unless its initialization has to wait for data.

    Args:
        obs_shape: of one observation.
        num_actions: A.
        hidden: widths of the fully connected layers.
        norm: the normalizer's name.
        units: of g.
        normalize_output: whether the head is normalized too; None does as the normalizer's source does.
        seed: of the initial parameters.
        init: the initialization's name.

    Raises:
        ValueError: an unknown name, or a normalizer that leaves the initialization nothing to set.
    """
    network = q_network(
        obs_shape, num_actions, hidden=hidden, seed=seed, norm=norm, normalize_output=normalize_output, units=units
    )
    if init == "data":
        check_lengths_are_free(layers_to_initialize(network), "init data")
    else:
        initialize(network, init, generator=torch.Generator().manual_seed(seed))
    return network


def make_dqn(run: RunSettings, settings: DQNSettings, environment: Environment) -> DQN:
    """A DQN agent for the environment, on the run's device.

    Raises:
        ValueError: the device is not there, a name is unknown, learning starts before there is a transition, or the
            replay does not fit in memory.
    """
    _check_start(settings, environment.num_envs)
    device = resolve_device(run.device)
    obs_dtype = torch.from_numpy(np.zeros(0, environment.obs_dtype)).dtype
    description = network_description(run, environment)
    network = make_network(**description, seed=run.seed, init=settings.init).to(device)
    return DQN(
        network,
        _make_replay(run, settings, environment, obs_dtype, device),
        settings,
        rng=np.random.default_rng([run.seed, 1]),
        dtype=resolve_dtype(run.precision, device, images=len(environment.obs_shape) == 3),
        learning_rate=learning_rate_schedule(run, settings),
    )


def learning_rate_schedule(run: RunSettings, settings: DQNSettings) -> Linear:
    """Step size by step: constant, or falling to 0 at the end of the run.

    Projected weights keep their norms, so that nothing lowers the effective step size by itself: for them it falls
    unless the settings say otherwise (Lyle et al. 2024, normalize-and-project).
    """
    auto = "linear" if run.norm == "projected" else "constant"
    schedule = auto if settings.learning_rate_schedule == "auto" else settings.learning_rate_schedule
    start, first = settings.learning_rate, settings.learning_starts
    return Linear(start, 0.0 if schedule == "linear" else start, max(run.steps - first, 0), begin=first)


def _check_start(settings: DQNSettings, num_envs: int) -> None:
    """Refuse a first update that comes before each environment has made `n_step` steps."""
    least = settings.n_step * num_envs - settings.train_interval + 1
    if settings.learning_starts < least:
        raise ValueError(
            f"learning_starts must be at least {least} for {num_envs} environments and transitions of "
            f"{settings.n_step} steps, got {settings.learning_starts}"
        )


def _make_replay(
    run: RunSettings, settings: DQNSettings, environment: Environment, obs_dtype: torch.dtype, device: torch.device
) -> Replay:
    shape, stack = environment.obs_shape, environment.stack
    needed = replay_bytes(
        settings.replay_size, environment.num_envs, shape, obs_dtype, stack=stack, n_step=settings.n_step
    )
    check_memory(needed, device, settings.replay_size)
    return Replay(
        settings.replay_size,
        environment.num_envs,
        shape,
        obs_dtype,
        stack=stack,
        n_step=settings.n_step,
        gamma=settings.gamma,
        device=device,
        seed=run.seed,
    )
