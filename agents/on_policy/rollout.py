"""Rollouts: what an on-policy agent did between two updates, as rows of N environments, time-major."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs import TimeStep
from wnrl.device import to_device


class Rollout(NamedTuple):
    """T rows and what followed each: `reward`, `discount` and `valid` belong to the step from row t to row t + 1."""

    obs: Tensor  # [T, N, *obs_shape]
    first: Tensor  # [T, N] bool, an episode's first row
    action: Tensor  # [T, N] int64 or [T, N, D] float32
    log_prob: Tensor  # [T, N], of the action by the policy that acted
    value: Tensor  # [T, N], of the row by the network that acted
    reward: Tensor  # [T, N]
    discount: Tensor  # [T, N], 0 where the step terminated the episode, 1 otherwise
    valid: Tensor  # [T, N] bool, False where row t is an episode's last: no step leads from it


class SampledAction(NamedTuple):
    """The actions of a row, with what is stored beside them."""

    action: Tensor  # [N] int64 or [N, D] float32
    log_prob: Tensor  # [N], of the actions
    value: Tensor  # [N], of the row


class RolloutStorage:
    """Storage of a rollout, on the agent's device.

    A row is written in two parts: `add` when its actions are chosen, `follow` when the next row is there.

    Args:
        length: T.
        num_envs: N.
        obs_shape: shape of one observation.
        obs_dtype: its dtype.
        action_size: D; 0 where actions are discrete.
        device: where the rows are.
    """

    def __init__(
        self,
        length: int,
        num_envs: int,
        obs_shape: Sequence[int],
        obs_dtype: torch.dtype,
        *,
        action_size: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        rows = (length, num_envs)
        self._device, self._length, self._rows, self._filled = torch.device(device), length, 0, False
        self._on_device = {
            "obs": torch.zeros(*rows, *obs_shape, dtype=obs_dtype, device=device),
            "action": torch.zeros(*rows, action_size, device=device)
            if action_size
            else torch.zeros(rows, dtype=torch.int64, device=device),
            "log_prob": torch.zeros(rows, device=device),
            "value": torch.zeros(rows, device=device),
        }
        on_cpu = self._device.type == "cpu"  # where NumPy takes half of the time for a few numbers
        self._arrays = {name: values.numpy() for name, values in self._on_device.items()} if on_cpu else {}
        self._on_host = {
            "first": np.zeros(rows, np.bool_),
            "reward": np.zeros(rows, np.float32),
            "discount": np.zeros(rows, np.float32),
            "valid": np.zeros(rows, np.bool_),
        }

    def __len__(self) -> int:
        """Rows that are written."""
        return self._rows

    @property
    def full(self) -> bool:
        """Whether all T rows are written."""
        return self._rows == self._length

    @property
    def may_fill(self) -> bool:
        """Whether the next `follow` may complete the rows."""
        return self._rows == self._length - 1

    def add(self, timestep: TimeStep, sampled: SampledAction) -> None:
        """Write the first part of the next row.

        Raises:
            RuntimeError: all T rows are written.
        """
        if self.full:
            raise RuntimeError(f"the rollout has its {self._length} rows: clear() comes before the next")
        row = self._rows
        if self._arrays:
            self._arrays["obs"][row] = timestep.obs
            for name, values in zip(sampled._fields, sampled, strict=True):
                self._arrays[name][row] = values.detach().numpy()
        else:
            self._on_device["obs"][row].copy_(to_device(timestep.obs, self._device))
            for name, values in sampled._asdict().items():
                self._on_device[name][row].copy_(values)
        self._on_host["first"][row] = timestep.first
        if row:
            self._on_host["valid"][row - 1] &= ~timestep.first  # new games, in a run that was resumed

    def follow(self, timestep: TimeStep, reward: np.ndarray) -> None:
        """Write the second part, from the row that followed, with the rewards `[N]` to learn from."""
        row = self._rows
        self._on_host["reward"][row] = reward
        self._on_host["discount"][row] = timestep.discount
        self._on_host["valid"][row] = ~timestep.first
        self._rows += 1
        self._filled = self._filled or self.full

    def clear(self) -> None:
        """Start a new rollout."""
        self._rows = 0

    def read(self) -> Rollout:
        """The rows that are written; what is on the device is shared, not copied."""
        host = {name: to_device(values.copy(), self._device) for name, values in self._on_host.items()}
        return Rollout(**{name: values[: self._rows] for name, values in {**self._on_device, **host}.items()})

    def recent_obs(self) -> Tensor | None:
        """Observations `[B, *obs_shape]` of the last T rows, or of the rows so far; None where B would be below 2."""
        rows = self._length if self._filled else self._rows
        obs = self._on_device["obs"][:rows].flatten(0, 1)
        return obs if len(obs) > 1 else None

    def get_state(self) -> dict[str, Any]:
        """All rows, with those of the last rollout that are not overwritten yet."""
        return {"rows": self._rows, "filled": self._filled, **self._on_device, **self._on_host}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from such a state."""
        self._rows, self._filled = state["rows"], state["filled"]
        for name, values in self._on_device.items():
            values.copy_(state[name])
        for name, array in self._on_host.items():
            array[:] = state[name]
