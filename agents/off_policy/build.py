"""What every agent with a replay buffer is built from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from agents.learner.build import build_learner, check_discrete, obs_dtype
from agents.learner.learner import Learner
from agents.off_policy.samplers import PrioritizedSampler, Sampler, UniformSampler
from agents.settings.run import RunSettings
from envs import Environment
from wnrl.device import check_memory
from wnrl.diagnostics.norms import Forward
from wnrl.replay.prioritized import PrioritizedReplay
from wnrl.replay.uniform import Replay, replay_bytes
from wnrl.schedules import Linear


def build_learner_and_sampler(
    run: RunSettings,
    settings: Any,
    environment: Environment,
    description: Mapping[str, Any],
    outputs: Forward,
    agent: str,
) -> tuple[Learner, Sampler]:
    """A learner, and a sampler of an empty replay buffer on its device.

    Args:
        run: settings of the run.
        settings: of the agent, with `learner` and `replay`.
        environment: whose steps are stored.
        description: of the network.
        outputs: see `build_learner`.
        agent: its name in messages.

    Raises:
        ValueError: continuous actions, learning starts before there is a transition, the replay buffer does not fit in
            memory, or as `build_learner`.
    """
    check_discrete(environment, agent)
    settings.replay.check_start(environment.num_envs)
    learner = build_learner(run, settings.learner, description, outputs, begin=settings.replay.learning_starts)
    return learner, build_sampler(run, settings, environment, learner.device)


def build_sampler(run: RunSettings, settings: Any, environment: Environment, device: torch.device) -> Sampler:
    """A sampler of an empty replay buffer on `device`; raises ValueError where it does not fit in memory."""
    replay, numbers = partial(build_replay, run, settings, environment, device), settings.replay
    if not numbers.prioritized:
        return UniformSampler(replay(Replay))
    begin = numbers.learning_starts
    beta = Linear(numbers.priority_beta, 1.0, max(run.steps - begin, 0), begin)
    return PrioritizedSampler(replay(PrioritizedReplay, alpha=numbers.priority_exponent), beta)


def build_replay(
    run: RunSettings,
    settings: Any,
    environment: Environment,
    device: torch.device,
    kind: type[Any] = Replay,
    **options: Any,
) -> Any:
    """An empty replay buffer of that kind; raises ValueError where it does not fit in memory.

    Args:
        run: settings of the run.
        settings: of the agent, with `learner` and `replay`.
        environment: whose steps are stored.
        device: where the buffer is.
        kind: `Replay` or `PrioritizedReplay`.
        options: further arguments of that class.
    """
    shape, stack, dtype = environment.obs_shape, environment.stack, obs_dtype(environment)
    size, n_step = settings.replay.replay_size, settings.replay.n_step
    needed = replay_bytes(size, environment.num_envs, shape, dtype, stack=stack, n_step=n_step)
    check_memory(needed, device, size)
    return kind(
        size,
        environment.num_envs,
        shape,
        dtype,
        stack=stack,
        n_step=n_step,
        gamma=settings.learner.gamma,
        device=device,
        seed=run.seed,
        **options,
    )
