"""Exploration by random actions."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    explore = rng.random(len(action)) < epsilon
    return np.where(explore, rng.integers(num_actions, size=len(action)), action)
