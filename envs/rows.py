"""Observations as rows: what an environment returns, one or a batch of them, as agents take it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate

from envs.makers import one_line
from envs.preprocessing import Preprocessing


class Rows:
    """Converts observations of an environment of Gymnasium, one or a batch, to ``[N, *shape]``.

    Args:
        space: of the environment, before its preprocessing.
        preprocessing: of its observations.
        shape: of one after it.
        dtype: of one after it.

    The result is called with observations as the environment returns them or as the preprocessing does, and returns
    rows ``[N, *shape]`` and whether it was one. With a stack it takes those of the preprocessing alone. What fits both
    is the environment's own, uint8 images of one shape for example; but uint8 images of the preprocessing's shape are
    its own where the environment's have another dtype.

    Raises:
        ValueError: on the call: another shape, another dtype than images have, or a number that a Discrete or
            MultiDiscrete space does not have.
    """

    def __init__(
        self, space: spaces.Space, preprocessing: Preprocessing, shape: tuple[int, ...], dtype: np.dtype
    ) -> None:
        self._space, self._shape, self._dtype, self._stack = space, shape, dtype, preprocessing.stack
        self._converters: list[Callable[[Any], Any]] = []
        env = preprocessing(_Spaces(space))
        while isinstance(env, gymnasium.Wrapper):
            if isinstance(env, gymnasium.ObservationWrapper):
                self._converters.insert(0, env.observation)
            env = env.env

    def __call__(self, obs: Any) -> tuple[np.ndarray, bool]:
        count = None if self._stack > 1 or self._is_done(obs) else count_of(self._space, obs)
        if count == 0:
            return self._converted(obs)[None], True
        if count is not None:
            return np.stack([self._converted(one) for one in iterate(batch_space(self._space, count), obs)]), False
        try:
            array, single = _shaped(obs, self._shape)
        except ValueError as error:
            own = f"with stack {self._stack}, one frame is not enough"
            reason = own if self._stack > 1 else f"nor of the environment's {one_line(self._space)}"
            raise ValueError(f"{error}: {reason}") from None
        return _cast(array, self._dtype), single

    def _is_done(self, obs: Any) -> bool:
        """Whether these are images that only the preprocessing returns."""
        if self._dtype != np.uint8 or self._space.dtype == np.uint8:
            return False
        array = np.asarray(obs)
        return array.dtype == np.uint8 and array.shape[-len(self._shape) :] == self._shape

    def _converted(self, obs: Any) -> np.ndarray:
        if not is_counted(self._space, obs):
            raise ValueError(f"observations must be of the environment's {one_line(self._space)}, got {one_line(obs)}")
        if isinstance(self._space, spaces.Box):
            _check_cast(np.asarray(obs), self._space.dtype)
        for convert in self._converters:
            obs = convert(obs)
        return np.asarray(obs, self._dtype)


def as_rows(obs: Any, shape: tuple[int, ...], dtype: np.dtype) -> tuple[np.ndarray, bool]:
    """Observations `[*shape]` or `[N, *shape]` as `[N, *shape]`, and whether it was one.

    Raises:
        ValueError: another shape, or a dtype of another kind, for example floats as uint8.
    """
    array, single = _shaped(obs, shape)
    return _cast(array, dtype), single


def _cast(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    _check_cast(array, dtype)
    return array.astype(dtype, copy=False)


def _check_cast(array: np.ndarray, dtype: np.dtype) -> None:
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise ValueError(f"observations must be {dtype}, got {array.dtype}")


def _shaped(obs: Any, shape: tuple[int, ...]) -> tuple[np.ndarray, bool]:
    """Observations as `[N, *shape]` of any dtype, and whether it was one; else ValueError."""
    array = np.asarray(obs)
    if array.shape == shape:
        return array[None], True
    if array.shape[1:] == shape and array.ndim == len(shape) + 1:
        return array, False
    given = "a structure" if array.dtype == object else str(list(array.shape))
    raise ValueError(f"observations must be {list(shape)} or [N, {str(list(shape))[1:]}, got {given}")


def count_of(space: spaces.Space, obs: Any) -> int | None:
    """How many observations of that space these are, batched as Gymnasium does; 0: one without a batch, None: neither.

    A batch of a Dict or Tuple is one of batches.
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(obs, Mapping) or obs.keys() != space.spaces.keys():
            return None
        counts = {count_of(part, obs[key]) for key, part in space.spaces.items()}
        return counts.pop() if len(counts) == 1 else None
    if isinstance(space, spaces.Tuple):
        if not isinstance(obs, tuple | list) or len(obs) != len(space.spaces):
            return None
        counts = {count_of(part, one) for part, one in zip(space.spaces, obs, strict=True)}
        return counts.pop() if len(counts) == 1 else None
    if space.shape is None:
        return 0 if space.contains(obs) else None
    array = np.asarray(obs)
    if isinstance(space, spaces.Discrete) and array.dtype.kind not in "iu":
        return None
    if array.shape == space.shape:
        return 0
    return len(array) or None if array.ndim > len(space.shape) and array.shape[1:] == space.shape else None


def is_counted(space: spaces.Space, obs: Any) -> bool:
    """Whether all numbers of an observation that stand for one of several things do: those of (Multi)Discrete spaces.

    Args:
        space: of the observation.
        obs: of the shape that the space says.
    """
    if isinstance(space, spaces.Discrete):
        return bool(space.start <= obs < space.start + space.n)
    if isinstance(space, spaces.MultiDiscrete):
        array = np.asarray(obs)
        inside = (array >= space.start) & (array < space.start + space.nvec)
        return array.dtype.kind in "iu" and b"\0" not in inside.tobytes()
    if isinstance(space, spaces.Dict):
        return all(is_counted(part, obs[name]) for name, part in space.spaces.items())
    if isinstance(space, spaces.Tuple):
        return all(map(is_counted, space.spaces, obs))
    return True


class _Spaces(gymnasium.Env):
    """Only the spaces of an environment, for wrappers whose conversions are used without it."""

    def __init__(self, observations: spaces.Space) -> None:
        self.observation_space, self.action_space = observations, spaces.Discrete(2)
