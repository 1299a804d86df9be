"""Whole episodes of one policy, for agents that learn from Monte Carlo returns."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.on_policy.rollout import Rollout, SampledAction
from envs import TimeStep
from wnrl.device import to_device

_HOST = ("first", "reward", "discount", "valid")
_RECENT = 512  # observations that `recent_obs` returns at least, where there are so many


class EpisodeStorage:
    """Storage of rows with a fixed number of whole episodes of each environment; all other rows are not valid.

    Only episodes that begin after `clear` are valid, so that one policy played all of each. Their number is fixed for
    each environment, so that short episodes are no more frequent than long ones.

    Args:
        episodes: of each environment, until the storage is full.
        num_envs: N.
        device: where the rows are.
    """

    def __init__(self, episodes: int, num_envs: int, device: torch.device | str = "cpu") -> None:
        self._episodes, self._num_envs, self._device = episodes, num_envs, torch.device(device)
        self._recent: deque[Tensor] = deque(maxlen=-(-_RECENT // num_envs))
        self.clear()

    def __len__(self) -> int:
        """Rows so far."""
        return len(self._rows["obs"])

    @property
    def full(self) -> bool:
        """Whether every environment has played its episodes."""
        return bool((self._played >= self._episodes).all())

    @property
    def may_fill(self) -> bool:
        """Whether the next `follow` may complete the episodes."""
        return bool((self._played + self._running >= self._episodes).all())

    def add(self, timestep: TimeStep, sampled: SampledAction) -> None:
        """Write the first part of the next row."""
        self._running |= timestep.first
        if len(self):
            valid = self._rows["valid"]
            valid[-1] = valid[-1] & ~timestep.first  # new games, in a run that was resumed
        obs = to_device(timestep.obs, self._device)
        self._recent.append(obs)
        copies = {name: values.clone() for name, values in sampled._asdict().items()}  # a graph overwrites its results
        for name, values in {"obs": obs, "first": timestep.first, **copies}.items():
            self._rows[name].append(values)

    def follow(self, timestep: TimeStep, reward: np.ndarray) -> None:
        """Write the second part, from the row that followed, with the rewards `[N]` to learn from."""
        counted = self._running & (self._played < self._episodes)
        for name, values in (
            ("reward", reward.astype(np.float32)),
            ("discount", timestep.discount),
            ("valid", counted & ~timestep.first),
        ):
            self._rows[name].append(values)
        self._played += counted & timestep.last

    def clear(self) -> None:
        """Remove all rows; episodes that have begun are not valid."""
        self._rows: dict[str, list[Any]] = {name: [] for name in Rollout._fields}
        self._running = np.zeros(self._num_envs, np.bool_)
        self._played = np.zeros(self._num_envs, np.int64)

    def read(self) -> Rollout:
        """All rows that are written in both parts."""
        number = len(self._rows["valid"])
        stacked = {
            name: to_device(np.stack(rows[:number]), self._device) if name in _HOST else torch.stack(rows[:number])
            for name, rows in self._rows.items()
        }
        return Rollout(**stacked)

    def recent_obs(self) -> Tensor | None:
        """Observations `[B, *obs_shape]` of the last rows; None where B would be below 2."""
        return torch.cat(list(self._recent)) if len(self._recent) * self._num_envs > 1 else None

    def get_state(self) -> dict[str, Any]:
        """The rows so far, without one whose step failed."""
        rows = self.read()._asdict() if self._rows["valid"] else {}
        seen = torch.stack(list(self._recent)) if self._recent else None
        return {"rows": rows, "running": self._running.copy(), "played": self._played.copy(), "seen": seen}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from such a state."""
        number = min(map(len, state["rows"].values()), default=0)  # one more in part in files of earlier versions
        for name, values in state["rows"].items():
            rows = values[:number]
            self._rows[name] = list(rows.cpu().numpy() if name in _HOST else rows.to(self._device))
        self._running, self._played = state["running"].copy(), state["played"].copy()
        self._recent.clear()
        self._recent.extend([] if state["seen"] is None else state["seen"].to(self._device))
