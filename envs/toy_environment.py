"""What the small environments of tests share: vector observations, episodes counted in steps, and a state to resume."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from envs.seeds import environment_seeds
from envs.stream import Environment, StateError, TimeStep, check_action, check_num_envs, first_rows


class ToyEnvironment(Environment):
    """Base class of N small environments with discrete actions and observations of a few numbers.

    Args:
        num_envs: N.
        num_actions: A.
        obs_size: numbers in an observation.
        render_mode: only None; there is no picture.

    Raises:
        ValueError: ``num_envs`` below 1, or a ``render_mode``.
    """

    def __init__(self, num_envs: int, num_actions: int, obs_size: int, render_mode: str | None) -> None:
        if render_mode is not None:
            raise ValueError(f"{type(self).__name__} has no picture to render, got {render_mode=}")
        self.num_envs = check_num_envs(num_envs)
        self.num_actions = num_actions
        self.obs_shape = (obs_size,)
        self.obs_dtype = np.dtype(np.float32)
        self._elapsed = np.zeros(num_envs, np.int64)  # steps in the episode
        self._last: np.ndarray | None = None  # [N]; None before the first reset

    @property
    def resumable(self) -> bool:
        return True

    @abstractmethod
    def _seed(self, seeds: np.ndarray) -> None:
        """Seed the random generators with a number for each environment, ``[N]``."""

    @abstractmethod
    def _start(self, first: np.ndarray) -> None:
        """Start an episode in the environments where ``first`` ``[N]``."""

    @abstractmethod
    def _advance(self, action: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Apply the actions ``[N]``, or start an episode where ``first`` ``[N]``; ``_elapsed`` is that of the new row.

        Returns:
            Reward ``[N]`` float64, and whether the episode terminated and whether it ended at all, ``[N]`` bool.
        """

    @abstractmethod
    def _obs(self) -> np.ndarray:
        """Observations ``[N, obs_size]`` float32."""

    def reset(self, seed: int | np.ndarray | None = None) -> TimeStep:
        if seed is not None:
            self._seed(environment_seeds(seed, self.num_envs))
        self._elapsed = np.zeros(self.num_envs, np.int64)
        self._last = np.zeros(self.num_envs, np.bool_)
        self._start(~self._last)
        return first_rows(self._obs())

    def step(self, action: np.ndarray) -> TimeStep:
        action = check_action(action, self.num_envs, self.num_actions)
        if self._last is None:
            raise RuntimeError("reset() comes before the first step()")
        first = self._last
        self._elapsed = np.where(first, 0, self._elapsed + 1)
        reward, terminated, self._last = self._advance(action, first)
        return TimeStep(self._obs(), reward, (~terminated).astype(np.float32), first, self._last.copy())

    def get_state(self) -> dict[str, np.ndarray]:
        last = np.array([], np.bool_) if self._last is None else self._last.copy()
        return {"elapsed": self._elapsed.copy(), "last": last}  # `last` is empty before the first reset

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        self._check_state(state)
        self._elapsed = state["elapsed"].copy()
        self._last = state["last"].copy() if len(state["last"]) else None

    def _limits(self) -> dict[str, int]:
        """Numbers of the state that are from 0 to below these, by name."""
        return {}

    def _check_state(self, state: dict[str, np.ndarray]) -> None:
        """Raise StateError where a state does not fit; nothing is set yet."""
        for name, own in self.get_state().items():
            found = state.get(name)
            shapes = [(self.num_envs,), (0,)] if name == "last" else [own.shape]
            if not isinstance(found, np.ndarray) or found.dtype != own.dtype or found.shape not in shapes:
                got = f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else type(found).__name__
                raise StateError(f"{name} of the state must be {own.dtype} {list(shapes[0])}, got {got}")
        for name, end in self._limits().items():
            if state[name].min() < 0 or state[name].max() >= end:
                raise StateError(f"{name} of the state must be in 0 … {end - 1}, got {state[name].tolist()}")
