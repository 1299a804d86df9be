"""Frames, and starts of transitions between them, in rings on the device."""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from wnrl.device import to_device

__all__ = ["Transition", "TransitionStore", "replay_bytes"]

_LINKS = 5  # int32 numbers of a start: its row, the row n steps on, the frames before each in its episode, the action
_RETURNS = 2  # float32 numbers of a start: reward, discount


class Transition(NamedTuple):
    """A batch of transitions over n steps.

    Attributes:
        obs: `[B, *obs_shape]`, the observation at a start t.
        action: `[B]` int64, chosen at t.
        reward: `[B]` float32, Σ γ^i r_{t+1+i} over the k steps after t; k = n, or what is left of the episode.
        discount: `[B]` float32, 0 if the episode terminated (or a life was lost) within these steps, γ^k otherwise.
        next_obs: `[B, *obs_shape]`, the observation at t + k.
    """

    obs: Tensor
    action: Tensor
    reward: Tensor
    discount: Tensor
    next_obs: Tensor


def _rows(capacity: int, num_envs: int, stack: int, n_step: int) -> tuple[int, int]:
    """Rows of starts that can be sampled, and rows of frames that they need."""
    for name, value in (("capacity", capacity), ("num_envs", num_envs), ("stack", stack), ("n_step", n_step)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
    starts = -(-capacity // num_envs)
    frames = starts + stack - 1 + n_step
    if frames * num_envs >= 2**31:
        raise ValueError(f"capacity must stay below 2**31 rows in all, got {capacity}: use a smaller one")
    return starts, frames


def _frame_shape(obs_shape: Sequence[int], stack: int) -> tuple[int, ...]:
    """Shape of what one step adds to the store."""
    if stack == 1:
        return tuple(obs_shape)
    if not obs_shape or obs_shape[0] != stack:
        raise ValueError(f"obs_shape must begin with stack={stack}, got {tuple(obs_shape)}")
    return tuple(obs_shape[1:])


def replay_bytes(
    capacity: int, num_envs: int, obs_shape: Sequence[int], obs_dtype: torch.dtype, stack: int = 1, n_step: int = 1
) -> int:
    """Bytes on the device that `Replay` takes with these arguments, without making it.

    Raises:
        ValueError: as `Replay`.
    """
    starts, frames = _rows(capacity, num_envs, stack, n_step)
    frame_bytes = prod(_frame_shape(obs_shape, stack)) * obs_dtype.itemsize
    return (frames * num_envs + 1) * frame_bytes + starts * num_envs * 4 * (_LINKS + _RETURNS)


class TransitionStore:
    """Two rings of N environments in lockstep: the newest frame of each observation by row, and starts in order of age.

    A start names the frames of its observation and of the one n steps on, and has the action and the return between
    them. Which starts there are is for the owner to know.

    Args:
        capacity: starts to hold, over all environments; rounded up to whole rows.
        num_envs: N.
        obs_shape: shape of one observation; `[stack, *frame]` where `stack` > 1.
        obs_dtype: its dtype.
        stack: frames in an observation, newest last; 1 stores observations as they are.
        n_step: steps n of a transition: so many rows of frames are needed beyond the newest start.
        device: where it is.

    Raises:
        ValueError: a number below 1, or an `obs_shape` that does not begin with `stack`.
    """

    def __init__(
        self,
        capacity: int,
        num_envs: int,
        obs_shape: Sequence[int],
        obs_dtype: torch.dtype,
        stack: int,
        n_step: int,
        device: torch.device | str,
    ) -> None:
        self.start_rows, self.frame_rows = _rows(capacity, num_envs, stack, n_step)
        self.starts = self.start_rows * num_envs
        self._num_envs, self._obs_shape, self._stack = num_envs, tuple(obs_shape), stack
        numbers = prod(_frame_shape(obs_shape, stack))
        self._frames = torch.empty((self.frame_rows * num_envs + 1, numbers), dtype=obs_dtype, device=device)
        self._frames[-1] = 0  # what stands before an episode's first frame
        self._links = torch.empty((self.starts, _LINKS), dtype=torch.int32, device=device)
        self._returns = torch.empty((self.starts, _RETURNS), dtype=torch.float32, device=device)
        self._back = torch.arange(stack - 1, -1, -1, device=device)  # [stack] rows back of each frame in a stack

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self._frames.device

    @property
    def nbytes(self) -> int:
        """Bytes taken on the device, as `replay_bytes` counts them."""
        return self._frames.nbytes + self._links.nbytes + self._returns.nbytes

    def newest_frame(self, obs: Any) -> Tensor:
        """Check observations `[N, *obs_shape]` and take what is to be stored of them, `[N, numbers in a frame]`.

        Raises:
            ValueError: the shape or dtype is another than the store's.
        """
        if not isinstance(obs, Tensor):
            obs = np.asarray(obs)
        expected = (self._num_envs, *self._obs_shape)
        if tuple(obs.shape) != expected:
            raise ValueError(f"obs must be {list(expected)}, got {list(obs.shape)}")
        frame = obs[:, -1] if self._stack > 1 else obs
        if not isinstance(frame, Tensor):
            frame = torch.from_numpy(np.require(frame, requirements=["C", "W"]))
        if frame.dtype != self._frames.dtype:
            raise ValueError(f"obs must be {self._frames.dtype}, got {frame.dtype}")
        return frame.reshape(self._num_envs, -1)

    def write_frames(self, row: int, frame: Tensor) -> None:
        """Write what `newest_frame` took of a row, counted from the first ever."""
        at = row % self.frame_rows * self._num_envs
        self._frames[at : at + self._num_envs].copy_(to_device(frame, self.device))

    def frame_places(self, row: np.ndarray | int) -> np.ndarray:
        """Where the frames of each environment's row (`[N]`, or one of all) lie, `[N]`: the rows that links name."""
        return row % self.frame_rows * self._num_envs + np.arange(self._num_envs)

    def write_starts(self, released: int, links: np.ndarray, returns: np.ndarray) -> None:
        """Write starts, `[K, 5]` and `[K, 2]`, behind the `released` ones that were ever written."""
        count, tail = len(links), released % self.starts
        fits = min(count, self.starts - tail)
        for ring, rows in ((self._links, links.astype(np.int32)), (self._returns, returns.astype(np.float32))):
            new = to_device(rows, self.device)
            ring[tail : tail + fits].copy_(new[:fits])
            if fits < count:
                ring[: count - fits].copy_(new[fits:])

    def gather(self, index: Tensor) -> Transition:
        """The transitions at `index`, `[B]` places in the ring of starts; a pure function of tensors."""
        links = self._links.index_select(0, index).t().long()  # [5, B]: start, end, both histories, action
        reward, discount = self._returns.index_select(0, index).t().contiguous()
        obs, next_obs = self.stacks(links[:2].reshape(-1), links[2:4].reshape(-1)).chunk(2)
        return Transition(obs, links[4].contiguous(), reward, discount, next_obs)

    def stacks(self, rows: Tensor, history: Tensor) -> Tensor:
        """Observations `[M, *obs_shape]` at `rows` `[M]`, with zeros beyond their `history` `[M]`."""
        nothing = len(self._frames) - 1
        frames = (rows[:, None] - self._back * self._num_envs) % nothing  # [M, stack]
        frames = torch.where(self._back <= history[:, None], frames, nothing)
        return self._frames.index_select(0, frames.flatten()).view(-1, *self._obs_shape)

    def filled(self, added: int, released: int) -> dict[str, Tensor]:
        """Views of what has been written after so many rows and starts."""
        frames, starts = min(added, self.frame_rows) * self._num_envs, min(released, self.starts)
        return {"frames": self._frames[:frames], "links": self._links[:starts], "returns": self._returns[:starts]}
