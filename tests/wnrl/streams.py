"""Random streams of rows, and a naive twin of a replay, for the tests of replays."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
]
GAMMA = 0.9


class ReplayRow(NamedTuple):
    """One row of a stream, all environments."""

    obs: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    discount: np.ndarray
    first: np.ndarray


class EpisodeStream:
    """Random rows of an emulator whose stacks are zero-padded after a reset."""

    def __init__(self, num_envs: int, stack: int, frame: tuple[int, ...], dtype: type, seed: int, p_end: float = 0.2):
        self.rng, self.num_envs, self.p_end = np.random.default_rng(seed), num_envs, p_end
        self.stack, self.obs = stack, np.zeros((num_envs, stack, *frame), dtype)
        self.ended = np.ones(num_envs, bool)

    def next(self) -> ReplayRow:
        first, frames = self.ended, self.rng.integers(1, 255, (self.num_envs, *self.obs.shape[2:]))
        self.obs = np.where(first.reshape(-1, *[1] * (self.obs.ndim - 1)), 0, self.obs).astype(self.obs.dtype)
        self.obs = np.concatenate((self.obs[:, 1:], frames[:, None].astype(self.obs.dtype)), axis=1)
        discount = (self.rng.random(self.num_envs) > 0.15).astype(
            np.float32
        )  # 0: a lost life, or termination if it ends
        self.ended = self.rng.random(self.num_envs) < self.p_end
        reward = self.rng.normal(size=self.num_envs).astype(np.float32)
        obs = self.obs if self.stack > 1 else self.obs[:, 0]
        return ReplayRow(obs, self.rng.integers(0, 18, self.num_envs), reward, discount, first)


class Twin:
    """Whole streams as lists; every transition found by walking along its episode."""

    def __init__(self, capacity: int, num_envs: int, n_step: int):
        self.rows: list[ReplayRow] = []
        self.held, self.num_envs, self.n_step = -(-capacity // num_envs), num_envs, n_step

    def transitions(self) -> list[tuple]:
        newest = len(self.rows) - 1 - self.n_step
        starts = range(max(0, newest - self.held + 1), newest + 1)
        found = [self.transition(t, env) for t in starts for env in range(self.num_envs)]
        return [transition for transition in found if transition is not None]

    def transition(self, t: int, env: int) -> tuple | None:
        reward, discount, end = 0.0, 1.0, t
        for row in self.rows[t + 1 : t + 1 + self.n_step]:
            if row.first[env]:
                break
            reward += discount * float(row.reward[env])
            discount = discount * GAMMA * float(row.discount[env])
            end += 1
        if end == t:
            return None
        start = self.rows[t]
        return start.obs[env], start.action[env], np.float32(reward), np.float32(discount), self.rows[end].obs[env]
