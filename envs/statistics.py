"""Scores and lengths of whole episodes, computed from time steps."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from envs.stream import TimeStep, check_num_envs


class Episode(NamedTuple):
    """A finished episode: index of the environment, sum of the unclipped rewards, and length in steps."""

    env: int
    score: float
    length: int


class EpisodeStatistics:
    """Scores and lengths of the episodes of N environments.

    An episode is a whole game: a lost life, which sets the discount to 0, does not end it. Rows before an environment's
    first ``first`` row belong to an episode whose start was not seen, and are not counted.

    Args:
        num_envs: N.
        window: number of last episodes over which means are taken; 100 as in stable-baselines3.
    """

    def __init__(self, num_envs: int, window: int = 100) -> None:
        if window < 1:
            raise ValueError(f"window must be at least 1 episode, got {window}")
        self.num_envs = check_num_envs(num_envs)
        self._score = np.zeros(num_envs, np.float64)
        self._length = np.zeros(num_envs, np.int64)
        self._running = np.zeros(num_envs, np.bool_)
        self._scores: deque[float] = deque(maxlen=window)
        self._lengths: deque[int] = deque(maxlen=window)

    def update(self, step: TimeStep) -> list[Episode]:
        """Add one time step, and return the episodes that ended with it, in the order of the environments.

        Raises:
            ValueError: the step is not of N environments.
        """
        if step.reward.shape != (self.num_envs,):
            raise ValueError(f"step must be of {self.num_envs} environments, got rewards {list(step.reward.shape)}")
        self._running |= step.first
        self._score = np.where(step.first, 0.0, self._score + step.reward)
        self._length = np.where(step.first, 0, self._length + 1)
        return [self._finish(env) for env in np.flatnonzero(step.last & self._running).tolist()]

    @property
    def mean_score(self) -> float:
        """Mean score of the last episodes; nan before the first one has ended."""
        return float(np.mean(self._scores)) if self._scores else float("nan")

    @property
    def mean_length(self) -> float:
        """Mean length of the last episodes, in steps; nan before the first one has ended."""
        return float(np.mean(self._lengths)) if self._lengths else float("nan")

    def get_state(self) -> dict[str, np.ndarray]:
        """The current sums and the last episodes, as arrays."""
        return {
            "score": self._score.copy(),
            "length": self._length.copy(),
            "running": self._running.copy(),
            "scores": np.array(self._scores, np.float64),
            "lengths": np.array(self._lengths, np.int64),
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Continue from a state that ``get_state()`` returned.

        Raises:
            ValueError: the state is of another number of environments.
        """
        if state["score"].shape != (self.num_envs,):
            raise ValueError(f"state of {len(state['score'])} environments, these statistics follow {self.num_envs}")
        self._score = state["score"].copy()
        self._length = state["length"].copy()
        self._running = state["running"].copy()
        self._scores = deque(state["scores"].tolist(), maxlen=self._scores.maxlen)
        self._lengths = deque(state["lengths"].tolist(), maxlen=self._lengths.maxlen)

    def _finish(self, env: int) -> Episode:
        self._running[env] = False
        episode = Episode(env, float(self._score[env]), int(self._length[env]))
        self._scores.append(episode.score)
        self._lengths.append(episode.length)
        return episode
