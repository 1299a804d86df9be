"""A small chain of states with a known optimum, for tests."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from envs.generators import pack_generator, unpack_generator
from envs.stream import Environment, TimeStep, check_action, check_num_envs, first_rows


class Chain(Environment):
    """States 0 … ``length - 1`` in a row; every episode starts at 0 and ends at the right end with reward 1.

    Action 1 goes right and action 0 left, where state 0 stays put. No other move is rewarded. An observation is the
    state, one-hot, float32. One random generator serves all environments.

    Args:
        num_envs: N.
        length: number of states, at least 2.
        max_steps: steps after which an episode is truncated, unless it terminates there.
        slip: probability that a move goes the other way.
        render_mode: None, the only one; there is no picture.

    Raises:
        ValueError: on a number outside its range, or a `render_mode`.
    """

    resumable: ClassVar[bool] = True

    def __init__(
        self,
        num_envs: int = 1,
        *,
        length: int = 5,
        max_steps: int = 100,
        slip: float = 0.0,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None:
            raise ValueError(f"Chain has no picture to render, got {render_mode=}")
        if length < 2 or max_steps < 1 or not 0 <= slip <= 1:
            raise ValueError(
                f"needs length >= 2, max_steps >= 1 and slip in [0, 1], got {length=}, {max_steps=}, {slip=}"
            )
        self.num_envs = check_num_envs(num_envs)
        self.num_actions = 2
        self.obs_shape = (length,)
        self.obs_dtype = np.dtype(np.float32)
        self.length, self.max_steps, self.slip = length, max_steps, slip
        self._rng = np.random.default_rng()
        self._position = np.zeros(num_envs, np.int64)
        self._elapsed = np.zeros(num_envs, np.int64)  # steps in the episode
        self._last: np.ndarray | None = None

    def reset(self, seed: int | None = None) -> TimeStep:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._position = np.zeros(self.num_envs, np.int64)
        self._elapsed = np.zeros(self.num_envs, np.int64)
        self._last = np.zeros(self.num_envs, np.bool_)
        return first_rows(self._obs())

    def step(self, action: np.ndarray) -> TimeStep:
        action = check_action(action, self.num_envs, self.num_actions)
        if self._last is None:
            raise RuntimeError("reset() comes before the first step()")
        first = self._last
        self._position = np.where(first, 0, self._move(action))
        self._elapsed = np.where(first, 0, self._elapsed + 1)
        goal = self._position == self.length - 1
        self._last = goal | (self._elapsed >= self.max_steps)
        reward = goal.astype(np.float32)
        return TimeStep(self._obs(), reward, 1 - reward, first.copy(), self._last.copy())

    def optimal_values(self, gamma: float) -> np.ndarray:
        """The value of each state under the best policy, always right, for ``slip`` 0: ``[length]`` float64.

        ``gamma ** (length - 2 - s)`` for state ``s``, and 0 for the terminal one. Truncation is not an end to it.

        Raises:
            ValueError: where ``slip`` is not 0.
        """
        if self.slip:
            raise ValueError(f"optimal values are known for slip 0 only, got slip {self.slip}")
        values = np.zeros(self.length)
        values[:-1] = np.float64(gamma) ** np.arange(self.length - 2, -1, -1)
        return values

    def get_state(self) -> dict[str, np.ndarray]:
        last = np.array([], np.bool_) if self._last is None else self._last.copy()
        return {
            "position": self._position.copy(),
            "elapsed": self._elapsed.copy(),
            "last": last,  # empty before the first reset
            "rng": pack_generator(self._rng),
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        if state["position"].shape != (self.num_envs,):
            raise ValueError(f"state of {len(state['position'])} environments, this Chain has {self.num_envs}")
        self._position = state["position"].copy()
        self._elapsed = state["elapsed"].copy()
        self._last = state["last"].copy() if len(state["last"]) else None
        self._rng = unpack_generator(state["rng"])

    def _move(self, action: np.ndarray) -> np.ndarray:
        slipped = self._rng.random(self.num_envs) < self.slip
        right = (action == 1) ^ slipped
        return np.clip(self._position + np.where(right, 1, -1), 0, self.length - 1)

    def _obs(self) -> np.ndarray:
        return np.eye(self.length, dtype=np.float32)[self._position]
