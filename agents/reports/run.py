"""A run as a report reads it, whichever library has written it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


class Points(NamedTuple):
    """A metric over a run."""

    steps: Numbers
    """[P], ascending, each once."""
    values: Numbers
    """[P], finite."""

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, float]]) -> Points:
        """The points of (step, value) in any order; of several at one step the last, and none that is not finite."""
        finite = {step: value for step, value in pairs if np.isfinite(value)}
        steps = sorted(finite)
        return cls(np.array(steps, dtype=float), np.array([finite[step] for step in steps], dtype=float))

    def up_to(self, step: float) -> Points:
        """Those that are not after this step."""
        kept = self.steps <= step
        return Points(self.steps[kept], self.values[kept])


@dataclass(frozen=True)
class Run:
    """A finished or stopped run."""

    name: str
    """Path of its folder, as messages show it."""
    agent: str
    """Of stable-baselines3's algorithms `sb3-` and the algorithm's name."""
    env: str
    """Environment's id; of an Atari game Gymnasium's name of the game."""
    norm: str
    """Normalizer; `unknown` where nothing names one."""
    seed: int | None
    settings: Mapping[str, str]
    """Value of each setting, as text."""
    made_with: Mapping[str, str]
    """Versions, commit and device, as text."""
    metrics: Mapping[str, Points]
    """By TensorBoard tag."""
    clock: Points
    """Seconds since the run began, pauses between its starts left out."""
    before: Mapping[str, str] = field(default_factory=dict)
    """Values that hold where a version did not have a setting yet, as text."""
    broke_down: float | None = None
    """The step at which its learning broke down and it ended; None where it has not."""
    planned: float = 0.0
    """Its length in steps, as its settings have it; 0 where they do not."""

    def value(self, name: str) -> str:
        """A setting, or what the run was made with; `ABSENT` where it has none of that name."""
        found = {**self.before, **self.made_with, **self.settings}.get(name, ABSENT)
        return str(self.seed) if name == "seed" and self.seed is not None else found


ABSENT = "–"
UNKNOWN = "unknown"


def as_text(value: Any) -> str:
    """A value of JSON in a cell of a table, with escapes for what is not in Unicode."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()


def as_game(text: str) -> str:
    """Gymnasium's name of the Atari game that a text spells; the text where it spells none."""
    from envs.games import game_name  # brings the emulator

    try:
        return game_name(text)
    except ValueError:
        return text
