"""What the presets share."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, Literal, Protocol

from agents.settings.run import RunSettings
from agents.settings.task import OF_GAMES

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
            images: whether the task shows images; the values are those for Atari games.
            norm: the normalizer.
            flags: the flags that are given, as text by name; some change the defaults of others.

        Raises:
            ValueError: an unknown name, or a preset that is not defined for the task.
        """


def check_preset(name: str, known: Collection[str]) -> None:
    """Raise ValueError where no preset has that name."""
    if name not in known:
        near = "".join(f" (nearest: {other})" for other in get_close_matches(name, known, n=1))
        raise ValueError(f"unknown preset {name!r}{near}: choose from {', '.join(known)}")


def length(values: Values, flags: Mapping[str, str]) -> int:
    """The step at which schedules end: that of the flags, or else the preset's length.

    Text that is no number, such as None, counts as not given; the command line refuses what is wrong.
    """
    for name in ("schedule_steps", "steps"):
        with contextlib.suppress(KeyError, ValueError):
            return int(flags[name])
    return values.get("steps", RunSettings.steps)


OF_REWARDS = ("reward_clip", "atoms", "v_min", "v_max")
"""Settings that depend on the size of rewards, which are clipped in Atari games alone."""


def of_own_images(games: Values, vectors: Values) -> Values:
    """Defaults for images of other environments than Atari games.

    They are those of games, without the emulator's settings, and with rewards as they are on vectors.

    Args:
        games: a preset's values for Atari games.
        vectors: its values for vectors.
    """
    own = {name: value for name, value in games.items() if name not in OF_GAMES}
    return own | {name: vectors[name] for name in OF_REWARDS if name in vectors}


def of_torso(observation: Observation, torso: str) -> Values:
    """The width of Young & Tian 2019 (MinAtar) for their network, which small images get unless another is named."""
    minatar = torso == "minatar" or (torso == "auto" and observation == "small image")
    return {"hidden": (128,)} if minatar else {}


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
