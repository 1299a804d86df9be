"""Names of the Atari games: as Gymnasium writes them (``SpaceInvaders``) and as ROM ids (``space_invaders``)."""

from __future__ import annotations

import difflib
import functools

import ale_py  # noqa: F401 - its import registers the ALE ids
import gymnasium


def rom_id(name: str) -> str:
    """The ROM id of a game, for example ``space_invaders`` for ``SpaceInvaders``.

    Args:
        name: Gymnasium's name or the ROM id, in any case, with or without underscores, spaces or hyphens.

    Raises:
        ValueError: unknown game; the message suggests similar names.
    """
    key = _key(name)
    if key not in _rom_ids():
        raise ValueError(f"unknown game {name!r}: {_suggestion(key)}")
    return _rom_ids()[key]


def game_name(name: str) -> str:
    """Gymnasium's name of a game, for example ``SpaceInvaders`` for ``space_invaders``.

    Args:
        name: the ROM id, or any spelling that `rom_id` accepts.

    Raises:
        ValueError: unknown game; the message suggests similar names.
    """
    return _names()[rom_id(name)]


def game_names() -> list[str]:
    """Gymnasium's names of all games, sorted: the single-player games, which have an ``ALE/`` id."""
    return sorted(_names().values())


@functools.cache
def _names() -> dict[str, str]:
    """ROM id → Gymnasium's name. Two-player games have a ROM, but no ``ALE/`` id."""
    specs = [spec for spec in gymnasium.registry.values() if spec.namespace == "ALE"]
    return {spec.kwargs["game"]: spec.name for spec in specs}


@functools.cache
def _rom_ids() -> dict[str, str]:
    return {_key(rom): rom for rom in _names()}


def _key(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _suggestion(key: str) -> str:
    near = [game_name(n) for n in difflib.get_close_matches(key, _rom_ids(), n=3)]
    if not near:
        return f"names of the {len(_names())} games are as in ALE/Breakout-v5, without ALE/ and -v5"
    return f"did you mean {' or '.join(near)}?"
