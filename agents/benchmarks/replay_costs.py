"""Costs of replay buffers on Atari: bytes per step, time to store a step, time to sample a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from agents.benchmarks.timing import medians, timed
from wnrl.replay.layout import ReplayLayout
from wnrl.replay.prioritized import PrioritizedReplay
from wnrl.replay.uniform import Replay

OBS_SHAPE, NUM_ACTIONS = (4, 84, 84), 6
EPISODE = 500  # steps, after which all environments reset


class Store(NamedTuple):
    """A replay buffer to be timed."""

    add: Callable[[], None]  # one step of each environment
    sample: Callable[[], Any]
    nbytes: Callable[[], float]  # per step


class StoredStep(NamedTuple):
    """A step of each of N environments."""

    obs: np.ndarray  # [N, 4, 84, 84] uint8
    next_obs: np.ndarray
    action: np.ndarray  # [N]
    reward: np.ndarray  # [N] float32
    first: np.ndarray  # [N] bool
    last: np.ndarray  # [N] bool, of `next_obs`


class RandomGames:
    """Stacks of random frames, as from N games that end together."""

    def __init__(self, num_envs: int) -> None:
        rng = np.random.default_rng(0)
        self._frames = rng.integers(256, size=(EPISODE + 4, num_envs, *OBS_SHAPE[1:]), dtype=np.uint8)
        self._action = rng.integers(NUM_ACTIONS, size=num_envs)
        self._reward = rng.normal(size=num_envs).astype(np.float32)
        self._time = -1

    def step(self) -> StoredStep:
        """The next step."""
        self._time = (self._time + 1) % EPISODE
        obs, next_obs = (self._stack(time) for time in (self._time, self._time + 1))
        first, last = (np.full(len(self._action), self._time == end) for end in (0, EPISODE - 1))
        return StoredStep(obs, next_obs, self._action, self._reward, first, last)

    def _stack(self, time: int) -> np.ndarray:
        return self._frames[time : time + OBS_SHAPE[0]].swapaxes(0, 1).copy()


def replay_costs(
    *, num_envs: int, batch_size: int, capacity: int, rounds: int, times: int, device: torch.device
) -> dict[str, Any]:
    """Bytes per step and seconds of full replay buffers, ours and those of stable-baselines3.

    Args:
        num_envs: N; a step is stored for each at once.
        batch_size: transitions per sample.
        capacity: steps that each buffer holds.
        rounds: timings per side; the sides take turns.
        times: calls per timing.
        device: where batches are sampled.

    Returns:
        By figure (`bytes a step`, `store` of N steps, `sample` of a batch) and replay: `median` and `ratio`.
    """
    makers = {
        "stable-baselines3": _sb3_replay_buffer,
        "for stable-baselines3": _frame_replay_buffer,
        "Replay": our_replay(Replay, "sample"),
        "PrioritizedReplay": our_replay(PrioritizedReplay, "sample_by_priority"),
    }
    stores = {name: make(num_envs, batch_size, capacity, device) for name, make in makers.items()}
    for store in stores.values():
        for _ in range(capacity // num_envs + 2 * EPISODE):
            store.add()
    return {
        "bytes a step": medians({name: [store.nbytes()] for name, store in stores.items()}),
        "store": timed({name: store.add for name, store in stores.items()}, rounds, times, device),
        "sample": timed({name: store.sample for name, store in stores.items()}, rounds, times, device),
    }


def our_replay(kind: type[Replay], method: str) -> Callable[..., Store]:
    """Makes one of our buffers, from number of environments, batch size, capacity and device; `method` samples it."""

    def make(num_envs: int, batch_size: int, capacity: int, device: torch.device) -> Store:
        replay = kind(ReplayLayout(capacity, num_envs, OBS_SHAPE, torch.uint8, stack=4), device=device)
        stream, discount = RandomGames(num_envs), np.ones(num_envs, np.float32)

        def add() -> None:
            row = stream.step()
            replay.add(row.obs, row.action, row.reward, discount, row.first)

        arguments = (batch_size, 0.4)[: 1 if method == "sample" else 2]
        return Store(add, lambda: getattr(replay, method)(*arguments), lambda: replay.nbytes / capacity)

    return make


def _sb3_replay_buffer(num_envs: int, batch_size: int, capacity: int, device: torch.device) -> Store:
    from stable_baselines3.common.buffers import ReplayBuffer

    return _sb3_buffer(ReplayBuffer, num_envs, batch_size, capacity, device)


def _frame_replay_buffer(num_envs: int, batch_size: int, capacity: int, device: torch.device) -> Store:
    from wnrl.sb3.frame_replay_buffer import FrameReplayBuffer

    return _sb3_buffer(FrameReplayBuffer, num_envs, batch_size, capacity, device)


def _sb3_buffer(kind: Any, num_envs: int, batch_size: int, capacity: int, device: torch.device) -> Store:
    from gymnasium.spaces import Box, Discrete

    space = Box(0, 255, OBS_SHAPE, np.uint8)
    buffer = kind(capacity, space, Discrete(NUM_ACTIONS), device=device, n_envs=num_envs)
    stream, infos = RandomGames(num_envs), [dict[str, Any]() for _ in range(num_envs)]

    def add() -> None:
        row = stream.step()
        buffer.add(row.obs, row.next_obs, row.action[:, None], row.reward, row.last, infos)

    return Store(add, lambda: buffer.sample(batch_size), lambda: _nbytes(buffer) / capacity)


def _nbytes(buffer: Any) -> int:
    """Bytes of all arrays, or what the buffer itself reports."""
    own = getattr(buffer, "nbytes", None)
    return own if own is not None else sum(a.nbytes for a in vars(buffer).values() if isinstance(a, np.ndarray))


def replay_table(figures: dict[str, Any]) -> str:
    """Table of bytes, microseconds and ratios."""
    lines = []
    for figure, rows in figures.items():
        unit, factor = ("", 1) if figure.startswith("bytes") else (" (µs)", 1e6)
        lines += ["", f"{figure + unit:24}{'median':>10}{'ratio':>8}"]
        lines += [f"{name:24}{row['median'] * factor:10.1f}{row['ratio']:8.3f}" for name, row in rows.items()]
    return "\n".join(lines[1:])
