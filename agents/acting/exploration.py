"""Exploration by random actions."""

from __future__ import annotations

import numpy as np


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
