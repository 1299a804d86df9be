"""Environments with one interface: Atari, any Gymnasium id with discrete or continuous actions, and two small tasks
with known optimal values, a chain and a recall of cues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium

from envs.atari import Atari
from envs.chain import Chain
from envs.games import game_name, game_names, rom_id
from envs.gym import Gym
from envs.recall import Recall
from envs.scores import human_normalized
from envs.statistics import Episode, EpisodeStatistics
from envs.stream import Environment, TimeStep

__all__ = [
    "Atari",
    "Chain",
    "Environment",
    "Episode",
    "EpisodeStatistics",
    "Gym",
    "Recall",
    "TimeStep",
    "game_name",
    "game_names",
    "human_normalized",
    "make",
    "rom_id",
]

__distribution__ = "wnrl"


def make(
    game: str | None = None, env: str | Callable[..., gymnasium.Env] | None = None, num_envs: int = 1, **options: Any
) -> Environment:
    """Make N copies of an environment.

    Args:
        game: an Atari game, see `Atari`.
        env: a Gymnasium id with discrete or continuous actions, see `Gym`; or ``Chain`` or ``Recall``, with or without
            ``-v0``, see `Chain` and `Recall`. Exactly one of ``game`` and ``env``.
        num_envs: N.
        options: passed to the class.

    Raises:
        ValueError: both or none of ``game`` and ``env``, an unknown one, or ``num_envs`` below 1.
    """
    if (game is None) == (env is None):
        raise ValueError(f"give either a game or an env, got {game=} and {env=}")
    if game is not None:
        return Atari(game, num_envs, **options)
    assert env is not None
    if env in ("Chain", "Chain-v0"):
        return Chain(num_envs, **options)
    if env in ("Recall", "Recall-v0"):
        return Recall(num_envs, **options)
    return Gym(env, num_envs, **options)
