"""Rewards as an agent learns from them: clipped, or divided by the standard deviation of their returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from agents.runtime.distributed import OneProcess, Ranks
from envs import TimeStep

ALONE = OneProcess()


class RewardScaling:
    """Divides rewards by the running standard deviation of discounted returns (Engstrom et al. 2020, section 3).

    As in `VecNormalize` of stable-baselines3, a return is the discounted sum of the rewards since the last reset or
    discount 0.

    Args:
        num_envs: N.
        gamma: discount per step.
        clip: the scaled rewards are clipped to [−clip, clip].
        eps: added to the variance.
    """

    def __init__(self, num_envs: int, gamma: float, clip: float = 10.0, eps: float = 1e-8) -> None:
        self._gamma, self._clip, self._eps = gamma, clip, eps
        self._return = np.zeros(num_envs)  # discounted sum of the rewards so far
        self._mean, self._variance, self._count = 0.0, 1.0, 1e-4

    def __call__(self, timestep: TimeStep, ranks: Ranks = ALONE) -> np.ndarray:
        """The row's rewards, scaled: `[N]` float32; an episode's first row has none and is not counted.

        Args:
            timestep: the row.
            ranks: whose rows count together.
        """
        played = ~timestep.first
        self._return = np.where(played, self._gamma * self._return + timestep.reward, 0.0)
        self._merge(*_moments(self._return[played], ranks))
        self._return *= timestep.discount
        scaled = timestep.reward / np.sqrt(self._variance + self._eps)
        return np.clip(scaled, -self._clip, self._clip).astype(np.float32)

    def _merge(self, count: float, mean: float, variance: float) -> None:
        """Mean and variance of everything so far (Chan et al. 1983)."""
        difference = mean - self._mean
        total = self._count + count
        squares = self._variance * self._count + variance * count
        self._variance = (squares + difference**2 * self._count * count / total) / total
        self._mean += difference * count / total
        self._count = total

    def get_state(self) -> dict[str, Any]:
        """Everything needed to continue."""
        return {
            "return": self._return.copy(),
            "mean": float(self._mean),
            "variance": float(self._variance),
            "count": float(self._count),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from such a state."""
        self._return = state["return"].copy()
        self._mean, self._variance, self._count = state["mean"], state["variance"], state["count"]


def _moments(returns: np.ndarray, ranks: Ranks) -> tuple[float, float, float]:
    """How many returns all processes have, their mean and their variance; 0 each where there is none."""
    own = (len(returns), returns.mean(), returns.var()) if len(returns) else (0.0, 0.0, 0.0)
    if ranks.world_size == 1:
        return own
    counts, means, variances = ranks.gather(torch.tensor(own, dtype=torch.float64)).numpy().T
    count = counts.sum()
    if not count:
        return 0.0, 0.0, 0.0
    mean = (counts * means).sum() / count
    return count, mean, (counts * (variances + (means - mean) ** 2)).sum() / count


class RewardClipping:
    """Clips rewards to [−clip, clip], then scales them.

    Args:
        clip: the bound; 0 leaves rewards as they are.
        scale: factor on the clipped rewards.
    """

    def __init__(self, clip: float, scale: float = 1.0) -> None:
        self._clip, self._scale = clip, scale

    def __call__(self, timestep: TimeStep, ranks: Ranks = ALONE) -> np.ndarray:
        """The row's rewards, clipped and scaled: `[N]` float32."""
        clipped = np.clip(timestep.reward, -self._clip, self._clip) if self._clip else timestep.reward
        return (self._scale * clipped).astype(np.float32)

    def get_state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Nothing."""
