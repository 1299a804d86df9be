"""The sizes of a replay buffer."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch

__all__ = ["LINKS", "RETURNS", "ReplayLayout"]

LINKS = 5  # int32 numbers of a start: its row, the row n steps on, earlier frames in each one's episode, the action
RETURNS = 2  # float32 numbers of a start: reward, discount


@dataclass(frozen=True)
class ReplayLayout:
    """What a replay buffer holds: steps of N environments in lockstep, each frame of stacked observations once.

    Args:
        capacity: transitions to hold, in steps summed over the environments; rounded up to whole rows.
        num_envs: N.
        obs_shape: shape of one observation; `(stack, *frame)` where `stack` > 1.
        obs_dtype: dtype of an observation.
        stack: frames in an observation, newest last; 1 stores observations as they are.
        n_step: steps n of a transition.

    Raises:
        ValueError: a number below 1, an `obs_shape` that does not begin with `stack`, or too many rows for int32.
    """

    capacity: int
    num_envs: int
    obs_shape: tuple[int, ...]
    obs_dtype: torch.dtype
    stack: int = 1
    n_step: int = 1

    def __post_init__(self) -> None:
        for name in ("capacity", "num_envs", "stack", "n_step"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.frame_rows * self.num_envs >= 2**31:
            raise ValueError(f"capacity must stay below 2**31 rows in all, got {self.capacity}: use a smaller one")
        if self.stack > 1 and tuple(self.obs_shape[:1]) != (self.stack,):
            raise ValueError(f"obs_shape must begin with stack={self.stack}, got {self.obs_shape}")

    @property
    def start_rows(self) -> int:
        """Rows in which a transition can start."""
        return -(-self.capacity // self.num_envs)

    @property
    def starts(self) -> int:
        """Transitions that fit, over all environments."""
        return self.start_rows * self.num_envs

    @property
    def frame_rows(self) -> int:
        """Rows of frames that the transitions refer to."""
        return self.start_rows + self.stack - 1 + self.n_step

    @property
    def frame_size(self) -> int:
        """Numbers in the frame that is stored of an observation."""
        return prod(self.obs_shape if self.stack == 1 else self.obs_shape[1:])

    @property
    def bytes(self) -> int:
        """Memory of the frames and transitions on the device."""
        frames = (self.frame_rows * self.num_envs + 1) * self.frame_size * self.obs_dtype.itemsize
        return frames + self.starts * 4 * (LINKS + RETURNS)
