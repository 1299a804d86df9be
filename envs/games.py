"""Names of the Atari games: as Gymnasium writes them (``SpaceInvaders``), as ROM ids (``space_invaders``), and ids."""

from __future__ import annotations

import difflib
import functools
import re

import ale_py
import gymnasium

_ID = re.compile(r"^(?:ale[-_]py:)?(?:ALE/)?(?P<game>\w+?)(?:Deterministic|NoFrameskip)?-v[045]$")


def rom_id(name: str) -> str:
    """The ROM id of a game, for example ``space_invaders`` for ``SpaceInvaders``.

    Args:
        name: Gymnasium's name or the ROM id, in any case, with or without underscores, spaces or hyphens; or an id of a
            Gymnasium environment, see `settings_of_id`.

    Raises:
        ValueError: unknown game; the message suggests similar names. Or one that ale-py emulates for several players
            only.
    """
    key = _key(_game_of_id(name) or name)
    if key in _rom_ids():
        return _rom_ids()[key]
    if key in map(_key, ale_py.roms.get_all_rom_ids()):
        raise ValueError(f"{name} needs two players or more in ale-py, and here one plays: choose another game")
    raise ValueError(f"unknown game {name!r}: {_suggestion(key)}")


def game_name(name: str) -> str:
    """Gymnasium's name of a game, for example ``SpaceInvaders`` for ``space_invaders``.

    Args:
        name: the ROM id, or any spelling that `rom_id` accepts.

    Raises:
        ValueError: as `rom_id`.
    """
    return _names()[rom_id(name)]


def game_names() -> list[str]:
    """Gymnasium's names of all games, sorted: the single-player games, which have an ``ALE/`` id."""
    return sorted(_names().values())


def settings_of_id(name: str) -> str | None:
    """A line that says which settings of a Gymnasium id are not taken over; None where ``name`` is no id.

    Args:
        name: of a game, as `rom_id` takes it: ``ALE/Pong-v5``, ``PongNoFrameskip-v4``, ``PongDeterministic-v4`` and
            ``Pong-v4`` all stand for the game ``Pong``.

    Raises:
        ValueError: as `rom_id`.
    """
    game = game_name(name)
    if _game_of_id(name) is None:
        return None
    spec = gymnasium.registry.get(name.rpartition(":")[2])
    own = ["sticky actions", "frame skip"]
    if spec is not None:
        sticky, skip = spec.kwargs["repeat_action_probability"], spec.kwargs["frameskip"]
        own = [f"sticky actions ({sticky:g})", f"frame skip ({skip if isinstance(skip, int) else '2 to 4, random'})"]
    return f"{name} means the game {game}: the id's own {' and '.join(own)} are not taken over"


def _game_of_id(name: str) -> str | None:
    """The game in a Gymnasium id, as that writes it; None where ``name`` is no id."""
    match = _ID.match(name)
    return match["game"] if match else None


@functools.cache
def _names() -> dict[str, str]:
    """ROM id → Gymnasium's name. Games for several players have a ROM, but no ``ALE/`` id."""
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
