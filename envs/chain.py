"""A small chain of states with a known optimum, for tests."""

from __future__ import annotations

import numpy as np

from envs.generators import pack_generator, unpack_generator
from envs.toy_environment import ToyEnvironment


class Chain(ToyEnvironment):
    """States 0 … ``length - 1`` in a row; every episode starts in state 0 and ends in the last one, with reward 1.

    Action 1 moves right and action 0 left, except in state 0. No other move is rewarded. An observation is the state,
    one-hot, float32. All environments share one random generator.

    Args:
        num_envs: N.
        length: number of states, at least 2.
        max_steps: steps after which an episode is truncated, unless it terminates there.
        slip: probability that a move goes in the opposite direction.
        render_mode: only None; there is no picture.

    Raises:
        ValueError: a number out of range, or a ``render_mode``.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        length: int = 5,
        max_steps: int = 100,
        slip: float = 0.0,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(num_envs, num_actions=2, obs_size=length, render_mode=render_mode)
        if length < 2 or max_steps < 1 or not 0 <= slip <= 1:
            raise ValueError(
                f"needs length >= 2, max_steps >= 1 and slip in [0, 1], got {length=}, {max_steps=}, {slip=}"
            )
        self.length, self.max_steps, self.slip = length, max_steps, slip
        self._rng = np.random.default_rng()
        self._position = np.zeros(num_envs, np.int64)

    def optimal_values(self, gamma: float) -> np.ndarray:
        """The value of each state under the optimal policy, always right, for ``slip`` 0: ``[length]`` float64.

        ``gamma ** (length - 2 - s)`` for state ``s``, and 0 for the terminal one; truncation does not count as an end.

        Raises:
            ValueError: ``slip`` is not 0.
        """
        if self.slip:
            raise ValueError(f"optimal values are known for slip 0 only, got slip {self.slip}")
        values = np.zeros(self.length)
        values[:-1] = np.float64(gamma) ** np.arange(self.length - 2, -1, -1)
        return values

    def get_state(self) -> dict[str, np.ndarray]:
        return {"position": self._position.copy(), **super().get_state(), "rng": pack_generator(self._rng)}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        super().set_state(state)
        self._position = state["position"].copy()
        self._rng = unpack_generator(state["rng"])

    def _limits(self) -> dict[str, int]:
        return {"position": self.length}

    def _seed(self, seeds: np.ndarray) -> None:
        self._rng = np.random.default_rng(seeds)

    def _start(self, first: np.ndarray) -> None:
        self._position = np.where(first, 0, self._position)

    def _advance(self, action: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        slipped = self._rng.random(self.num_envs) < self.slip
        right = (action == 1) ^ slipped
        self._position = np.clip(self._position + np.where(right, 1, -1), 0, self.length - 1)
        self._start(first)
        goal = self._position == self.length - 1
        return goal.astype(np.float64), goal, goal | (self._elapsed >= self.max_steps)

    def _obs(self) -> np.ndarray:
        return np.eye(self.length, dtype=np.float32)[self._position]
