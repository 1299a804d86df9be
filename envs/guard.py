"""Looks at what an environment of Gymnasium returns, so that what is wrong is reported with the environment's index."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.faults import EnvironmentFault
from envs.makers import describe, one_line
from envs.preprocessing import can_stray, first_where, stray_value, white_of
from envs.rows import count_of, is_counted

_LARGEST = sys.float_info.max
_NUMBERS = frozenset({float, bool, np.float64, np.float32, np.int64, np.int32, np.bool_})


class Guard(gymnasium.Wrapper):
    """One environment; whatever it raises, `sys.exit()` too, and anything of a wrong kind that it returns, is an
    `EnvironmentFault`.

    So is a number that a Discrete or MultiDiscrete space does not have, a value of an image, which will be uint8,
    that `envs.preprocessing.stray_value` finds, and an integer that the dtype of its space does not have.
    Other numbers that are not finite pass, see `check_finite`.

    Args:
        env: as its maker returns it, before its preprocessing.
        index: among those that step together.
    """

    def __init__(self, env: gymnasium.Env, index: int) -> None:
        super().__init__(env)
        space = env.observation_space
        self._index, self._space = index, space
        self._shape, self._dtype = space.shape, space.dtype  # of the last observation that was found right
        self._white, self._can_stray = white_of(space), False
        self._counted = isinstance(space, spaces.Discrete | spaces.MultiDiscrete)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        try:
            obs, info = self.env.reset(seed=seed, options=options)
        except (Exception, SystemExit) as error:
            raise EnvironmentFault(self._index, "failed in reset()", describe(error)) from error
        self._check_obs(obs)
        self._check_info(info)
        return obs, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        try:
            obs, reward, terminated, truncated, info = self.env.step(action)
        except (Exception, SystemExit) as error:
            raise EnvironmentFault(self._index, "failed", describe(error)) from error
        other = type(obs) is not np.ndarray or obs.shape != self._shape or obs.dtype is not self._dtype
        if other or (self._counted and not is_counted(self._space, obs)):
            self._check_obs(obs)
        elif self._can_stray:
            self._check_values(obs)
        if type(reward) not in _NUMBERS and not _is_number(reward):
            raise EnvironmentFault(self._index, f"returned a reward of {one_line(reward)[:100]}")
        if type(terminated) not in _NUMBERS or type(truncated) not in _NUMBERS:
            self._check_ends(terminated=terminated, truncated=truncated)
        if type(info) is not dict:
            self._check_info(info)
        return obs, reward, terminated, truncated, info

    def close(self) -> None:
        """Close it; what fails there is a warning, since nothing is asked of it any more."""
        try:
            self.env.close()
        except (Exception, SystemExit) as error:
            warnings.warn(f"environment {self._index} failed in close(): {describe(error)}", stacklevel=2)

    def _check_obs(self, obs: Any) -> None:
        space, fits = self._space, count_of(self._space, obs) == 0
        if isinstance(space, spaces.Box):
            array = np.asarray(obs)
            fits = fits and np.can_cast(array.dtype, space.dtype, "same_kind")
            got = f"an observation of {array.dtype} {list(array.shape)}"
            if fits:
                self._dtype = array.dtype
                self._check_values(array)
        else:
            got = f"an observation of another kind, {one_line(obs)[:100]}"
        if fits and not is_counted(space, obs):
            fits, got = False, f"an observation outside of its space, {one_line(obs)[:100]}"
        if not fits:
            raise EnvironmentFault(self._index, f"returned {got}", f"its observation_space is {one_line(space)}")

    def _check_ends(self, **ends: Any) -> None:
        for name, end in ends.items():
            if not _is_number(end):
                raise EnvironmentFault(self._index, f"returned {one_line(end)[:100]} as {name}", "it must be a bool")

    def _check_info(self, info: Any) -> None:
        if not isinstance(info, Mapping):
            raise EnvironmentFault(self._index, f"returned {one_line(info)[:100]} as info", "it must be a dict")

    def _check_values(self, array: np.ndarray) -> None:
        if self._white is None:
            self._check_range(array)
            return
        self._can_stray = can_stray(array.dtype, self._white)
        if stray := stray_value(array, self._white):
            bounds = f"its observation_space is {one_line(self._space)}"
            raise EnvironmentFault(self._index, f"returned an image with {stray}", bounds)

    def _check_range(self, array: np.ndarray) -> None:
        """Refuse integers that would wrap around in the dtype of the space."""
        assert isinstance(self._space, spaces.Box)
        dtype = self._space.dtype
        self._can_stray = dtype.kind in "iu" and not np.can_cast(array.dtype, dtype)
        if self._can_stray and (wrong := array.astype(dtype) != array).any():
            bounds = f"its observation_space is {one_line(self._space)}"
            raise EnvironmentFault(self._index, f"returned an observation with {first_where(wrong, array)}", bounds)


def check_finite(obs: np.ndarray, reward: np.ndarray) -> None:
    """Raise EnvironmentFault where a reward ``[N]`` or an observation ``[N, *obs_shape]`` is not finite."""
    # A search for a false byte takes a third of the time of all().
    if b"\0" in np.isfinite(reward).tobytes():
        _refuse_rewards(reward)
    if obs.dtype.kind == "f" and b"\0" in np.isfinite(obs).tobytes():
        _refuse_obs(obs)


def _refuse_rewards(reward: np.ndarray) -> None:
    for index in np.flatnonzero(~np.isfinite(reward)).tolist():
        raise EnvironmentFault(index, f"returned a reward of {reward[index]}")


def _refuse_obs(obs: np.ndarray) -> None:
    for index, row in enumerate(obs):
        if not np.isfinite(row).all():
            wrong = first_where(~np.isfinite(row), row)
            detail = f"infinite, or beyond the range of {row.dtype}" if "inf" in wrong else ""
            raise EnvironmentFault(index, f"returned an observation with {wrong}", detail)


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return -_LARGEST <= value <= _LARGEST
    try:
        return np.ndim(value) == 0 and not isinstance(value, str | bytes) and isinstance(float(value), float)
    except (TypeError, ValueError, OverflowError):
        return False
