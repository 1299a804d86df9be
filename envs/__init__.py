"""Environments as one stream of time steps: Atari, any Gymnasium id with discrete actions, and a chain for tests."""

from __future__ import annotations

from typing import Any

from envs.atari import Atari
from envs.chain import Chain
from envs.games import game_name, game_names, rom_id
from envs.gym import Gym
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
    "TimeStep",
    "game_name",
    "game_names",
    "human_normalized",
    "make",
    "rom_id",
]


def make(game: str | None = None, env: str | None = None, num_envs: int = 1, **options: Any) -> Environment:
    """N environments of one kind.

    Args:
        game: an Atari game, see `Atari`.
        env: a Gymnasium id, see `Gym`; ``Chain`` or ``Chain-v0`` for `Chain`. Exactly one of ``game`` and ``env``.
        num_envs: N.
        options: passed to the class.

    Raises:
        ValueError: both or none of ``game`` and ``env``, an unknown one, or ``num_envs`` under 1.
    """
    if (game is None) == (env is None):
        raise ValueError(f"give either a game or an env, got {game=} and {env=}")
    if game is not None:
        return Atari(game, num_envs, **options)
    assert env is not None
    if env in ("Chain", "Chain-v0"):
        return Chain(num_envs, **options)
    return Gym(env, num_envs, **options)
