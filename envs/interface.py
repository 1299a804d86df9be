"""What the environments of a task show and take: shapes, dtypes, and conversions from and to an environment's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from envs.api_check import check_api
from envs.guard import Guard
from envs.makers import Maker, Source
from envs.preprocessing import Preprocessing, check_actions
from envs.rows import Rows, as_rows
from envs.stream import Environment


class Interface(NamedTuple):
    """Shapes and dtypes as `Environment` has them, and two conversions.

    Attributes:
        obs_shape: shape of one observation.
        obs_dtype: its dtype: uint8 for images, float32 for vectors.
        num_actions: number of discrete actions; 0 where actions are continuous, None of a game, whose ROM decides.
        action_size: numbers in a continuous action; 0 where actions are discrete.
        stack: frames stacked along the first axis of an observation.
        rows: from one observation or a batch, as the environment returns them or as a `TimeStep` has them, to
            ``[N, *obs_shape]`` of ``obs_dtype``, and whether it was one. Raises ValueError for another shape.
        actions: from discrete actions ``[...]`` or continuous ones ``[..., D]`` to those that the environment takes:
            from the start of its space on, or clipped to its bounds.
    """

    obs_shape: tuple[int, ...]
    obs_dtype: np.dtype
    num_actions: int | None
    action_size: int
    stack: int
    rows: Callable[[Any], tuple[np.ndarray, bool]]
    actions: Callable[[np.ndarray], np.ndarray]


def game_interface(stack: int) -> Interface:
    """Of an Atari game: no emulator is started."""
    shape, dtype = (stack, 84, 84), np.dtype(np.uint8)
    return Interface(shape, dtype, None, 0, stack, lambda obs: as_rows(obs, shape, dtype), _as_they_are)


def interface_of(environment: Environment) -> Interface:
    """Of an environment that has nothing but rows and discrete actions from 0 on."""
    shape, dtype = environment.obs_shape, environment.obs_dtype
    return Interface(
        shape,
        dtype,
        environment.num_actions,
        environment.action_size,
        environment.stack,
        lambda obs: as_rows(obs, shape, dtype),
        _as_they_are,
    )


def gym_interface(
    id: Source,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    resize: tuple[int, int] | None = None,
    grey: bool = False,
    frame_skip: int = 1,
    stack: int = 1,
    **kwargs: Any,
) -> Interface:
    """Of an environment of Gymnasium: one is made, reset, stepped once and closed; arguments as those of `Gym`.

    Raises:
        ValueError: as `Maker` and `Preprocessing`; or ``reset`` or ``step`` fails, or does not return what
            `gymnasium.Env` says.
    """
    make = Maker(id, {**(env_kwargs or {}), **kwargs}, warns=False)
    preprocessing, env = Preprocessing(resize, grey, frame_skip, stack), make()
    try:
        wrapped = preprocessing(env)
        check_api(env, make.name)
    finally:
        Guard(env, 0).close()
    shape, dtype = obs_format(wrapped.observation_space)
    actions = check_actions(wrapped.action_space)
    return Interface(
        shape,
        dtype,
        int(actions.n) if isinstance(actions, spaces.Discrete) else 0,
        0 if isinstance(actions, spaces.Discrete) else len(actions.low),
        frames_stacked(shape, dtype, stack),
        Rows(env.observation_space, preprocessing, shape, dtype),
        lambda action: to_gymnasium(actions, action),
    )


def obs_format(space: spaces.Space) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of our observations, of the space of a wrapped environment."""
    shape = space.shape
    assert shape is not None
    return shape, np.dtype(np.uint8 if len(shape) == 3 else np.float32)


def frames_stacked(shape: tuple[int, ...], dtype: np.dtype, stack: int) -> int:
    """Frames along the first axis, of which each is one entry: those of images without colours."""
    return stack if dtype == np.uint8 and shape[0] == stack else 1


def to_gymnasium(space: spaces.Discrete | spaces.Box, action: np.ndarray) -> np.ndarray:
    """Our actions as that action space has them, see `Interface.actions`."""
    if isinstance(space, spaces.Discrete):
        return (np.asarray(action) + space.start).astype(space.dtype)
    return np.clip(np.asarray(action, space.dtype), space.low, space.high)


def _as_they_are(action: np.ndarray) -> np.ndarray:
    return np.asarray(action)
