"""Exploration by random actions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agents.settings.exploration import ExplorationSettings
from wnrl.schedules import LinearSchedule


@dataclass(frozen=True)
class ExplorationRate:
    """The exploration rate ε while learning.

    Args:
        settings: of ε.
        begin: step at which ε starts to fall.
    """

    settings: ExplorationSettings
    begin: int = 0

    def __call__(self, step: int) -> float:
        """ε at `step`."""
        own = self.settings
        start, end, steps = own.epsilon_start, own.epsilon_end, own.epsilon_steps
        if own.epsilon_off and step >= own.epsilon_off:
            return 0.0
        if own.epsilon_schedule == "linear" or not steps:
            return LinearSchedule(start, end, steps, self.begin)(step)
        return end + (start - end) * math.exp(-max(step - self.begin, 0) / steps)


class RandomActions(NamedTuple):
    """Uniformly random actions for a row, and where they are taken."""

    taken: np.ndarray  # [N] bool
    action: np.ndarray  # [N] integers

    @classmethod
    def draw(cls, number: int, num_actions: int, epsilon: float, rng: np.random.Generator) -> RandomActions:
        """Taken with probability `epsilon` each, on which the number of draws does not depend; see `with_random`."""
        return cls(rng.random(number) < epsilon, rng.integers(num_actions, size=number))

    @classmethod
    def draw_all(cls, number: int, num_actions: int, rng: np.random.Generator) -> RandomActions:
        """Taken everywhere."""
        return cls(np.ones(number, np.bool_), rng.integers(num_actions, size=number))

    def of(self, part: slice) -> RandomActions:
        """Those of a part of the row."""
        return RandomActions(self.taken[part], self.action[part])

    def instead_of(self, action: np.ndarray) -> np.ndarray:
        """These actions where they are taken, `action` elsewhere, `[N]`."""
        return np.where(self.taken, self.action, action)


def with_random(action: np.ndarray, num_actions: int, epsilon: float, rng: np.random.Generator) -> np.ndarray:
    """Actions, each replaced by a uniformly random one with probability `epsilon` (ε-greedy where they are greedy).

    Args:
        action: `[N]` integers.
        num_actions: A.
        epsilon: share of random actions, in [0, 1].
        rng: of both the choice and the random actions; the number of draws does not depend on `epsilon`.

    Returns:
        `[N]` integers.
    """
    return RandomActions.draw(len(action), num_actions, epsilon, rng).instead_of(action)
