"""What the presets share."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from typing import Any, Literal, Protocol

from agents.settings.run import RunSettings

Values = dict[str, Any]
"""Defaults by flat name."""
Observation = Literal["game", "image", "small image", "vector"]
"""What a task shows: frames of an Atari game, images of another environment, or vectors."""
SMALL = 36
"""Images with a side below this are small: the Nature network does not take them."""


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
            ValueError: an unknown name, or a preset that is not defined for the task.
        """


def check_preset(name: str, known: Collection[str]) -> None:
    """Raise ValueError where no preset has that name."""
    if name not in known:
        raise ValueError(f"unknown preset {name!r}: choose from {', '.join(known)}")


def length(values: Values, flags: Mapping[str, str]) -> int:
    """The step at which schedules end: that of the flags, or else the preset's length; 0 where a flag is no number."""
    with contextlib.suppress(ValueError):  # the command line says so
        for name in ("schedule_steps", "steps"):
            if name in flags:
                return int(flags[name])
        return values.get("steps", RunSettings.steps)
    return 0


REPLAY_VECTOR: Values = {
    "hidden": (256, 256),
    "steps": 100_000,
    "num_envs": 4,
    "learning_rate": 1e-3,
    "batch_size": 128,
    "train_interval": 4,
    "learning_starts": 1_000,
    "replay_size": 50_000,
    "target_interval": 4,
    "reward_clip": 0.0,
    "eval_interval": 5_000,
    "checkpoint_interval": 50_000,
}
"""Of agents with a replay buffer, on vectors."""
