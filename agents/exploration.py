"""Exploration: actions drawn around what a network values."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def epsilon_greedy(q_values: Tensor, epsilon: float, rng: np.random.Generator) -> np.ndarray:
    """Actions of greatest value, each replaced by a uniformly random one with probability `epsilon`.

    Args:
        q_values: `[N, A]`, on any device.
        epsilon: share of random actions, in [0, 1].
        rng: of the choice and of the random actions; it draws as much for every `epsilon`.

    Returns:
        `[N]` integers.
    """
    number, num_actions = q_values.shape
    explore = rng.random(number) < epsilon
    return np.where(explore, rng.integers(num_actions, size=number), q_values.argmax(1).cpu().numpy())
