"""Environments that are given in Python instead of by an id."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv

from agents.settings.flat import python_name
from agents.training.task import Source


def source_of(env: Any) -> tuple[str, Source | None]:
    """The name of an environment, and what makes it unless that is an id.

    Args:
        env: the id of an environment of Gymnasium; a class or function that makes one; or an environment, of which
            copies are made, so that training and evaluation never step the same one.

    Raises:
        TypeError: it is none of these.
        ValueError: an environment that cannot be copied.
    """
    if isinstance(env, str):
        return env, None
    if isinstance(env, gymnasium.Env):
        return python_name(type(env.unwrapped)), _copies(env)
    if isinstance(env, VectorEnv) or not callable(env):
        raise TypeError(
            f"env must be an id, a class or function that makes a gymnasium.Env, or one, got {type(env).__name__}: "
            "parallel copies are made by num_envs"
        )
    return python_name(env), env


def _copies(env: gymnasium.Env) -> Source:
    """Makes copies of an environment as it is now."""
    try:
        kept = copy.deepcopy(env)
    except Exception as error:  # of any kind: it is the environment's own code
        kind = type(env.unwrapped).__name__
        raise ValueError(
            f"training and evaluation need copies of the {kind}, which cannot be copied ({error}): "
            "give the class, or a function that makes one"
        ) from error
    return lambda: copy.deepcopy(kept)
