"""What every agent with a replay buffer is built from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from agents.learner.build import build_learner, check_discrete, check_examples, obs_dtype
from agents.learner.learner import Learner
from agents.off_policy.update import PrioritizedSampler, Sampler, UniformSampler
from agents.runtime.seeds import Purpose, integer
from agents.settings.run import RunSettings
from envs import Environment
from wnrl.diagnostics.norms import Forward
from wnrl.replay.layout import ReplayLayout
from wnrl.replay.prioritized import PrioritizedReplay
from wnrl.replay.uniform import Replay
from wnrl.schedules import LinearSchedule


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
    replay = settings.replay
    clock = {"begin": replay.learning_starts, "interval": replay.train_interval}
    learner = build_learner(run, settings.learner, description, outputs, **clock)
    check_examples(learner, settings.learner, minibatch=replay.batch_size, initial=replay.init_batch)
    return learner, build_sampler(run, settings, environment, learner.device)


def build_sampler(run: RunSettings, settings: Any, environment: Environment, device: torch.device) -> Sampler:
    """A sampler of an empty replay buffer on `device`; raises ValueError where it does not fit in memory."""
    replay, numbers = partial(build_replay, run, settings, environment, device), settings.replay
    if not numbers.prioritized:
        return UniformSampler(replay(Replay))
    begin = numbers.learning_starts
    beta = LinearSchedule(numbers.priority_beta, 1.0, max(run.schedule_end - begin, 0), begin)
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
    layout = ReplayLayout(
        settings.replay.replay_size,
        environment.num_envs,
        environment.obs_shape,
        obs_dtype(environment),
        stack=environment.stack,
        n_step=settings.replay.n_step,
    )
    seed = integer(run.seed, Purpose.REPLAY)
    return kind(layout, gamma=settings.learner.gamma, device=device, seed=seed, **options)
