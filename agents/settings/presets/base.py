"""What the presets share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

Values = dict[str, Any]
"""Defaults by flat name."""


class Preset(Protocol):
    """Defaults of an agent's runs by name."""

    def __call__(self, name: str, *, images: bool, norm: str, flags: Mapping[str, str]) -> Values:
        """The preset's values.

        Args:
            name: of the preset.
            images: whether the task is an Atari game.
            norm: the normalizer.
            flags: the flags that are given, as text by name; some change the defaults of others.

        Raises:
            ValueError: an unknown name, or a preset that has no meaning for the task.
        """


def check_preset(name: str, known: Collection[str]) -> None:
    """Raise ValueError where no preset has that name."""
    if name not in known:
        raise ValueError(f"unknown preset {name!r}: choose from {', '.join(known)}")
