"""Environments as stable-baselines3 takes them, for training and for evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any, SupportsFloat

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import VecEnv, VecTransposeImage

from agents.settings.task import TaskSettings
from envs.faults import EnvironmentFault
from envs.guard import Guard, check_finite
from envs.makers import Maker
from wnrl.sb3 import AtariVecEnv

Task = Mapping[str, Any]
"""`game` or `env`, the other None, and of a game its `protocol` and `emulator` options, as a description has them."""


def describe_task(settings: TaskSettings) -> dict[str, Any]:
    """The task as JSON holds it."""
    emulator = {**settings.emulator_options, **settings.machine_options}
    task: dict[str, Any] = {"game": settings.game, "env": settings.env, "emulator": emulator}
    if settings.game is not None:
        task["emulator"]["terminal_on_life_loss"] = settings.life_loss
        task["protocol"] = settings.protocol
    return task


def make_training_envs(task: Task, num_envs: int, seed: int) -> VecEnv:
    """Environments to learn in: the rewards of a game are clipped to their sign.

    Raises:
        ValueError: an unknown task, or an Atari id as `env`.
    """
    return _make(task, num_envs, seed, clip_reward=True)


def make_evaluation_envs(task: Task, num_envs: int, seed: int, *, pictures: bool = False) -> VecEnv:
    """Environments for true scores: rewards are not clipped.

    Where a lost life is `done` in training it is here too, since FIRE is then pressed for the agent, which has not
    learned to. `infos` have an `episode` at the end of whole games alone.

    Args:
        task: see `Task`.
        num_envs: N.
        seed: of the first, of at most 31 bits; the others have the following ones.
        pictures: whether environment 0 has pictures to show.

    Raises:
        ValueError: an unknown task, or an Atari id as `env`.
    """
    return _make(task, num_envs, seed, clip_reward=False, **({"render_mode": "rgb_array"} if pictures else {}))


def _make(task: Task, num_envs: int, seed: int, *, clip_reward: bool, **options: Any) -> VecEnv:
    if task["game"] is not None:
        return AtariVecEnv(task["game"], num_envs, seed=seed, clip_reward=clip_reward, **task["emulator"], **options)
    make, index = Maker(task["env"], task["emulator"].get("env_kwargs", {}), **options), count()
    return _channels_first(make_vec_env(lambda: FiniteGuard(make(), next(index)), num_envs, seed=seed))


class FiniteGuard(Guard):
    """A `Guard` that takes no number that is not finite either, as `envs.Gym` takes none."""

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        obs, reward, *ends = super().step(action)
        self._check_finite(obs, reward)
        return obs, reward, *ends

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = super().reset(seed=seed, options=options)
        self._check_finite(obs, 0.0)
        return obs, info

    def _check_finite(self, obs: Any, reward: SupportsFloat) -> None:
        for part in obs.values() if isinstance(obs, Mapping) else [obs]:
            try:
                check_finite(np.asarray(part)[None], np.array([float(reward)]))
            except EnvironmentFault as fault:
                fault.index = self._index
                raise


def _channels_first(environment: VecEnv) -> VecEnv:
    """With images transposed as an algorithm of the library has them."""
    space = environment.observation_space
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    images = [part for part in parts if isinstance(part, spaces.Box) and is_image_space(part)]
    if any(not is_image_space_channels_first(part) for part in images):
        return VecTransposeImage(environment)
    return environment
