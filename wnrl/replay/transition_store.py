"""Ring buffers on the device: frames, and the transitions between them."""

from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor

from wnrl.device import to_device
from wnrl.replay.frozen_rows import FrozenRows, Rows
from wnrl.replay.layout import LINKS, RETURNS, ReplayLayout

__all__ = ["Transition", "TransitionStore"]


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


class TransitionStore:
    """Two rings of N environments in lockstep: newest frames of observations, and starts of transitions.

    A start refers to the frames of its observation and of the one n steps later, and holds the action and the return
    between them. The owner keeps count of the starts.

    Args:
        layout: sizes of the rings.
        device: where they are.
    """

    def __init__(self, layout: ReplayLayout, device: torch.device | str) -> None:
        self.start_rows, self.frame_rows, self.starts = layout.start_rows, layout.frame_rows, layout.starts
        self._num_envs, self._obs_shape, self._stack = layout.num_envs, layout.obs_shape, layout.stack
        frames = (self.frame_rows * layout.num_envs + 1, layout.frame_size)
        self._frames = torch.empty(frames, dtype=layout.obs_dtype, device=device)
        self._frames[-1] = 0  # shown before the first frame of an episode
        self._links = torch.empty((self.starts, LINKS), dtype=torch.int32, device=device)
        self._returns = torch.empty((self.starts, RETURNS), dtype=torch.float32, device=device)
        self._frozen: WeakSet[FrozenRows] = WeakSet()
        self._back = torch.arange(self._stack - 1, -1, -1, device=device)  # [stack] rows back of each frame in a stack

    @property
    def device(self) -> torch.device:
        """Where the rings are."""
        return self._frames.device

    @property
    def nbytes(self) -> int:
        """Bytes taken on the device, as `ReplayLayout.bytes` counts them."""
        return self._frames.nbytes + self._links.nbytes + self._returns.nbytes

    def newest_frame(self, obs: Any) -> Tensor:
        """Check observations `[N, *obs_shape]`, and return the frames to store of them, `[N, numbers in a frame]`.

        Raises:
            ValueError: a shape or dtype other than the layout's.
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
        """Write the frames that `newest_frame` gave for row number `row`, counted since the start."""
        at = row % self.frame_rows * self._num_envs
        for frozen in list(self._frozen) if self._frozen else ():
            frozen.about_to_write(at, at + self._num_envs)
        self._frames[at : at + self._num_envs].copy_(to_device(frame, self.device))

    def frame_indices(self, row: np.ndarray | int) -> np.ndarray:
        """Indices `[N]` in the ring of the frames of row number `row`, `[N]` or one for all, as starts store them."""
        return row % self.frame_rows * self._num_envs + np.arange(self._num_envs)

    def write_starts(self, released: int, links: np.ndarray, returns: np.ndarray) -> None:
        """Append starts, `[K, 5]` and `[K, 2]`, to the `released` ones that have been written so far."""
        count, tail = len(links), released % self.starts
        fits = min(count, self.starts - tail)
        for ring, rows in ((self._links, links.astype(np.int32)), (self._returns, returns.astype(np.float32))):
            new = to_device(rows, self.device)
            ring[tail : tail + fits].copy_(new[:fits])
            if fits < count:
                ring[: count - fits].copy_(new[fits:])

    def gather(self, index: Tensor) -> Transition:
        """The transitions at indices `index` `[B]` of the ring of starts; a pure function of tensors."""
        links = self._links.index_select(0, index).t().long()  # [5, B]: start, end, both histories, action
        reward, discount = self._returns.index_select(0, index).t().contiguous()
        obs, next_obs = self.stacks(links[:2].reshape(-1), links[2:4].reshape(-1)).chunk(2)
        return Transition(obs, links[4].contiguous(), reward, discount, next_obs)

    def stacks(self, rows: Tensor, history: Tensor) -> Tensor:
        """Observations `[M, *obs_shape]` at frame indices `rows` `[M]`, with zeros before their `history` `[M]`."""
        nothing = len(self._frames) - 1
        if self._stack == 1:
            return in_words(self._frames).index_select(0, rows).view(self._frames.dtype).view(-1, *self._obs_shape)
        frames = (rows[:, None] - self._back * self._num_envs) % nothing  # [M, stack]
        frames = torch.where(self._back <= history[:, None], frames, nothing)
        chosen = in_words(self._frames).index_select(0, frames.flatten())
        return chosen.view(self._frames.dtype).view(-1, *self._obs_shape)

    def filled(self, added: int, released: int) -> dict[str, Tensor]:
        """Views of the part of each ring that is filled after `added` rows and `released` starts."""
        frames, starts = min(added, self.frame_rows) * self._num_envs, min(released, self.starts)
        return {"frames": self._frames[:frames], "links": self._links[:starts], "returns": self._returns[:starts]}

    def frozen_frames(self, added: int) -> list[Rows]:
        """The filled part of the ring of frames after `added` rows, as it is now, for another thread to read once."""
        frozen = FrozenRows(self._frames)
        self._frozen.add(frozen)
        rows = min(added, self.frame_rows) * self._num_envs
        return frozen.parts(rows, oldest=added % self.frame_rows * self._num_envs)


def in_words(rows: Tensor) -> Tensor:
    """A view of contiguous `[rows, numbers]` in the widest integers that a row consists of.

    A row is copied in as few numbers as that, and compiled code finds its place once for each of them.
    """
    size = rows.shape[1] * rows.element_size()
    words = (torch.int64, torch.int32, torch.int16, torch.uint8)
    return rows.view(next(word for word in words if size % word.itemsize == 0))
