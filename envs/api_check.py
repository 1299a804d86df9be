"""A trial of an environment before anything is built on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.makers import describe, one_line
from envs.preprocessing import stray_value, white_of
from envs.rows import count_of


def check_api(env: gymnasium.Env, name: str) -> None:
    """Reset an environment and make one step in it.

    Args:
        env: the environment.
        name: of it, for errors.

    Raises:
        ValueError: ``reset`` or ``step`` fails, or does not return what `gymnasium.Env` says.
    """
    obs = _checked(name, "reset", ("observation", "info"), lambda: env.reset(seed=0, options=None))[0]
    _check_obs(name, "reset", env.observation_space, obs)
    env.action_space.seed(0)
    returned = ("observation", "reward", "terminated", "truncated", "info")
    obs, reward, *ends, _ = _checked(name, "step", returned, lambda: env.step(env.action_space.sample()))
    _check_obs(name, "step", env.observation_space, obs)
    if not _is_number(reward):
        raise ValueError(f"{name}: step() must return a number as the reward, got {one_line(reward)}")
    for which, end in zip(("terminated", "truncated"), ends, strict=True):
        if not _is_number(end):
            raise ValueError(f"{name}: step() must return a bool as {which}, got {one_line(end)}")


def _is_number(value: Any) -> bool:
    """Whether that is one finite number or bool, of Python or of an array library."""
    try:
        return np.ndim(value) == 0 and not isinstance(value, str | bytes) and math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def _checked(name: str, method: str, returned: tuple[str, ...], call: Callable[[], Any]) -> tuple[Any, ...]:
    values = f"({', '.join(returned)})"
    try:
        result = call()
    except (Exception, SystemExit) as error:
        if method == "reset" and "unexpected keyword argument" in str(error):
            said = f"reset() must take seed and options and return {values}, as gymnasium.Env"
        elif "values to unpack" in str(error):
            said = f"{method}() must return {values}, as gymnasium.Env: {one_line(error)}"
        else:
            said = f"{method}() fails: {describe(error)}"
        raise ValueError(f"{name}: {said}") from error
    if not isinstance(result, tuple) or len(result) != len(returned) or not isinstance(result[-1], Mapping):
        got = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
        raise ValueError(f"{name}: {method}() must return {values}, as gymnasium.Env, got {got}")
    return result


def _check_obs(name: str, method: str, space: spaces.Space, obs: Any) -> None:
    declared = f"its observation_space is {one_line(space)}"
    fits = count_of(space, obs) == 0
    if isinstance(space, spaces.Box) and fits:
        fits = np.can_cast(np.asarray(obs).dtype, space.dtype, "same_kind")
    if not fits:
        array = obs if isinstance(obs, Mapping | tuple) else np.asarray(obs)
        got = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(obs).__name__
        raise ValueError(f"{name}: {method}() returns observations {got}, {declared}")
    white = white_of(space)
    if white is not None and (stray := stray_value(np.asarray(obs), white)):
        raise ValueError(f"{name}: {method}() returns an image with {stray}, {declared}")
