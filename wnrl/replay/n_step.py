"""Returns over n steps, from rows of several environments in lockstep."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

__all__ = ["Return", "Row", "n_step_return"]


class Row(NamedTuple):
    """What the host keeps of a row until its starts are released; each is [N]."""

    action: np.ndarray
    reward: np.ndarray
    discount: np.ndarray
    first: np.ndarray
    history: np.ndarray  # earlier frames of the same episode that the row's stack shows


class Return(NamedTuple):
    """What follows the oldest row of a window; each is [N]."""

    reward: np.ndarray
    discount: np.ndarray
    steps: np.ndarray  # 0: the next row begins another episode, there is no transition
    history: np.ndarray  # of the row `steps` on


def n_step_return(window: Iterable[Row], gamma: float) -> Return:
    """Add up what followed the oldest row of `window`, up to the window's end or the episode's.

    Args:
        window: n + 1 consecutive rows of N environments, oldest first.
        gamma: discount γ of one step.

    Returns:
        Over the k ≤ n steps that are left: Σ γ^i r_{t+1+i} up to the first discount of 0, γ^k or 0, k, and the history
        of the row k on.
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
