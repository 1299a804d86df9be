"""Rewards divided by the spread of their returns, so that values stay of size one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs import TimeStep


class RewardScaling:
    """Divides rewards by the running standard deviation of discounted returns (Engstrom et al. 2020, section 3).

    As `VecNormalize` of stable-baselines3, these are sums over the rewards since the last reset or discount 0.

    Args:
        num_envs: N.
        gamma: discount per step.
        clip: the scaled rewards are clipped to this size.
        eps: added to the variance.
    """

    def __init__(self, num_envs: int, gamma: float, clip: float = 10.0, eps: float = 1e-8) -> None:
        self._gamma, self._clip, self._eps = gamma, clip, eps
        self._return = np.zeros(num_envs)  # discounted sum of the rewards so far
        self._mean, self._variance, self._count = 0.0, 1.0, 1e-4

    def __call__(self, timestep: TimeStep) -> np.ndarray:
        """The row's rewards, scaled: `[N]` float32; first rows have none and are not counted."""
        played = ~timestep.first
        self._return = np.where(played, self._gamma * self._return + timestep.reward, 0.0)
        if played.any():
            self._merge(self._return[played])
        self._return *= timestep.discount
        scaled = timestep.reward / np.sqrt(self._variance + self._eps)
        return np.clip(scaled, -self._clip, self._clip).astype(np.float32)

    def _merge(self, returns: np.ndarray) -> None:
        """Mean and variance of everything so far (Chan et al. 1983)."""
        count, difference = len(returns), returns.mean() - self._mean
        total = self._count + count
        squares = self._variance * self._count + returns.var() * count
        self._variance = (squares + difference**2 * self._count * count / total) / total
        self._mean += difference * count / total
        self._count = total

    def get_state(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {
            "return": self._return.copy(),
            "mean": float(self._mean),
            "variance": float(self._variance),
            "count": float(self._count),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `get_state`'s state."""
        self._return = state["return"].copy()
        self._mean, self._variance, self._count = state["mean"], state["variance"], state["count"]


class RewardClipping:
    """Clips rewards to a size; a size of 0 leaves them as they are.

    Args:
        clip: the size.
    """

    def __init__(self, clip: float) -> None:
        self._clip = clip

    def __call__(self, timestep: TimeStep) -> np.ndarray:
        """The row's rewards, clipped: `[N]` float32."""
        return np.clip(timestep.reward, -self._clip, self._clip) if self._clip else timestep.reward

    def get_state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Nothing."""
