"""n-step returns from rows of several environments in lockstep."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

__all__ = ["PendingRow", "Return", "n_step_return"]


class PendingRow(NamedTuple):
    """A row of N environments that the host keeps until n more rows are there; each field is `[N]`."""

    action: np.ndarray
    reward: np.ndarray
    discount: np.ndarray
    first: np.ndarray
    history: np.ndarray  # earlier frames of the same episode in the row's stack


class Return(NamedTuple):
    """The n-step return from the oldest row of a window; each field is `[N]`."""

    reward: np.ndarray
    discount: np.ndarray
    steps: np.ndarray  # 0: no transition, as the next row begins another episode
    history: np.ndarray  # of the row `steps` later


def n_step_return(window: Iterable[PendingRow], gamma: float) -> Return:
    """The return from the oldest row of `window` up to the end of the window or of the episode.

    Args:
        window: n + 1 consecutive rows of N environments, oldest first.
        gamma: discount γ of one step.

    Returns:
        Over the k ≤ n steps that remain: Σ γ^i r_{t+1+i} up to the first discount of 0; γ^k, or 0 after such a
        discount; k; and the history of the row k steps later.
    """
    oldest, *later = window
    going = np.ones_like(oldest.first)
    reward, discount = np.zeros(len(going)), np.ones(len(going))
    steps, history = np.zeros(len(going), np.int64), np.zeros(len(going), np.int64)
    for row in later:
        going = going & ~row.first
        reward = np.where(going, reward + discount * row.reward, reward)
        discount = np.where(going, discount * gamma * row.discount, discount)
        history = np.where(going, row.history, history)
        steps += going
    return Return(reward, discount, steps, history)
