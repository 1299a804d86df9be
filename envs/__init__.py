"""Environments with one interface: Atari, any Gymnasium id with discrete or continuous actions, and two small tasks
with known optimal values, a chain and a recall of cues."""

from __future__ import annotations

import inspect
from typing import Any

from envs.atari import Atari, usable_cores
from envs.chain import Chain
from envs.faults import EnvironmentFault
from envs.games import game_name, game_names, rom_id
from envs.groups import Groups, grouped
from envs.gym import Gym
from envs.interface import Interface, game_interface, gym_interface, interface_of
from envs.makers import Source
from envs.recall import Recall
from envs.scores import human_normalized
from envs.statistics import Episode, EpisodeStatistics
from envs.stream import Environment, TimeStep

__all__ = [
    "Atari",
    "Chain",
    "Environment",
    "EnvironmentFault",
    "Episode",
    "EpisodeStatistics",
    "Groups",
    "Gym",
    "Interface",
    "Recall",
    "TimeStep",
    "game_name",
    "game_names",
    "human_normalized",
    "make",
    "probe",
    "rom_id",
]

__distribution__ = "wnrl"


TOYS = {"Chain": Chain, "Chain-v0": Chain, "Recall": Recall, "Recall-v0": Recall}
"""The built-in environments by id."""


def make(
    game: str | None = None, env: Source | None = None, num_envs: int = 1, *, groups: int = 1, **options: Any
) -> Environment:
    """Make N copies of an environment.

    Args:
        game: an Atari game, see `Atari`.
        env: a Gymnasium id, or a class or function that makes an environment of Gymnasium, with discrete or continuous
            actions, see `Gym`; or ``Chain`` or ``Recall``, with or without ``-v0``, see `Chain` and `Recall`. Exactly
            one of ``game`` and ``env``.
        num_envs: N.
        groups: in how many they step independently, see `Groups`; for those that step in the background: games, and
            others with ``vectorization="async"``. The emulators' threads are divided among them.
        options: passed to the class.

    Raises:
        ValueError: both or none of ``game`` and ``env``, an unknown one, ``num_envs`` below 1, an option that a
            built-in environment does not have, or groups that do not fit.
    """
    if (game is None) == (env is None):
        raise ValueError(f"give either a game or an env, got {game=} and {env=}")
    if groups != 1:
        return _grouped(game, env, num_envs, groups, options)
    if game is not None:
        return Atari(game, num_envs, **options)
    assert env is not None
    return _toy(env, num_envs, **options) if _is_toy(env) else Gym(env, num_envs, **options)


def _grouped(game: str | None, env: Source | None, num_envs: int, groups: int, options: dict[str, Any]) -> Groups:
    seed = None
    if game is not None:
        seed = options.pop("seed", None)  # of all groups, which draw those of their games from it
        threads = options.get("num_threads") or min(num_envs, usable_cores())
        options = {**options, "num_threads": max(threads // max(groups, 1), 1)}
    elif options.get("vectorization") != "async":
        raise ValueError(f'groups {groups} need environments that step in the background: vectorization="async"')
    return grouped(lambda number: make(game, env, number, **options), num_envs, groups, seed)


def probe(game: str | None = None, env: Source | None = None, **options: Any) -> Interface:
    """What the environments of `make` show and take, without making N of them.

    No emulator is started for a game. One environment of Gymnasium is made, reset, stepped once and closed.

    Args:
        game: as `make`.
        env: as `make`.
        options: as `make`, but for those of `Atari` only ``stack``, and without ``vectorization`` and ``render_mode``.

    Raises:
        ValueError: as `make`; or the environment's ``reset`` or ``step`` fail, or do not return what `gymnasium.Env`
            says.
    """
    if (game is None) == (env is None):
        raise ValueError(f"give either a game or an env, got {game=} and {env=}")
    if game is not None:
        rom_id(game)
        return game_interface(options.get("stack", 4))
    assert env is not None
    return interface_of(_toy(env, 1, **options)) if _is_toy(env) else gym_interface(env, **options)


def _is_toy(env: Source) -> bool:
    return isinstance(env, str) and env in TOYS


def _toy(env: Source, num_envs: int, **options: Any) -> Environment:
    assert isinstance(env, str)
    own = {**(options.pop("env_kwargs", None) or {}), **options}
    if unknown := own.keys() - (inspect.signature(TOYS[env]).parameters.keys() - {"num_envs"}):
        raise ValueError(f"{env} has no option {', '.join(sorted(unknown))}: leave it out")
    return TOYS[env](num_envs, **own)
