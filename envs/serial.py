"""Gymnasium's environments one after the other in this process."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import SyncVectorEnv


class Serial(SyncVectorEnv):
    """`SyncVectorEnv` with next-step autoreset and without infos, which takes less time for a step.

    The observation space is a ``Box``. What `step` returns is not overwritten by later steps.
    """

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one step in every environment, or reset those whose episode has ended.

        Args:
            actions: ``[N]`` or ``[N, D]``.

        Returns:
            Observations ``[N, *obs_shape]``, rewards ``[N]`` float64, terminated and truncated ``[N]`` bool, no infos.
        """
        number = self.num_envs
        rows: list[Any] = [None] * number
        rewards = np.zeros(number)
        terminated, truncated = [False] * number, [False] * number
        resets = self._autoreset_envs.tolist()
        for index, (env, action) in enumerate(zip(self.envs, actions, strict=True)):
            if resets[index]:
                rows[index], _ = env.reset()
            else:
                rows[index], rewards[index], terminated[index], truncated[index], _ = env.step(action)
        ends = np.array(terminated, np.bool_), np.array(truncated, np.bool_)
        self._autoreset_envs = ends[0] | ends[1]
        return np.array(rows, self.single_observation_space.dtype), rewards, *ends, {}

    def pend(self, resets: np.ndarray) -> None:
        """Let the next step reset these environments instead, ``[N]`` bool."""
        self._autoreset_envs = resets.copy()
