"""A replay buffer for stable-baselines3 that stores each frame of stacked images once, on the model's device."""

from __future__ import annotations

import warnings
from collections import deque
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from wnrl.memory import free_memory

__all__ = ["FrameReplayBuffer"]

_SLACK = 256  # frames of an environment that may begin stacks before each must have a step of its own


class FrameReplayBuffer(NStepReplayBuffer):
    """A `replay_buffer_class` that gives the samples of the host's buffer at 1/8 of its memory (stacks of 4 frames).

    What is sampled is what `ReplayBuffer` (`NStepReplayBuffer` if `n_steps` > 1) gives for the same steps and the same
    NumPy seed, bit for bit; the host's own code draws it. Only images are kept otherwise: each frame once, on `device`,
    and for each stack the places of its frames. Zeros or repeats before an episode's first frame cost nothing, that
    frame itself and an episode's last are kept. Every stack is compared with the one before when it is added.

    Args:
        buffer_size: transitions to hold, over all environments; rounded down to whole rows as the host does.
        observation_space: a Box of images, `[C, H, W]` or `[H, W, C]`; the host's rule tells which axis is C.
        action_space: any that the host takes.
        device: where frames are kept, and samples given.
        n_envs: N.
        optimize_memory_usage: only False; the host's mode of that name loses an episode's last frame.
        handle_timeout_termination: whether `TimeLimit.truncated` in `infos` undoes `done` in samples.
        n_steps: steps of a transition. The algorithm's own `n_steps` does not reach a custom buffer.
        gamma: discount of one step, used if `n_steps` > 1.
        stack: frames on the channel axis, newest last; by default each channel is a frame, 1 is for unstacked images.

    Raises:
        ValueError: a space, a `stack` or a mode that it cannot hold.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        *,
        n_steps: int = 1,
        gamma: float = 0.99,
        stack: int | None = None,
    ) -> None:
        layout = _layout(observation_space, stack)
        if optimize_memory_usage:
            raise ValueError("FrameReplayBuffer stores frames once anyway: leave optimize_memory_usage=False")
        super().__init__(
            n_envs,  # one row: the host would take memory for whole stacks
            observation_space,
            action_space,
            device,
            n_envs,
            handle_timeout_termination=handle_timeout_termination,
            n_steps=n_steps,
            gamma=gamma,
        )
        self.buffer_size = max(buffer_size // n_envs, 1)
        for name in ("actions", "rewards", "dones", "timeouts"):
            row = getattr(self, name)
            setattr(self, name, np.zeros((self.buffer_size, *row.shape[1:]), row.dtype))
        self._frames = _Frames(self.buffer_size, n_envs, layout, self.observations.dtype, self.device)
        self.observations = _Stacks(self._frames, self.buffer_size)  # type: ignore[assignment]
        self.next_observations = _Stacks(self._frames, self.buffer_size)  # type: ignore[assignment]

    @property
    def nbytes(self) -> int:
        """Bytes taken by frames, wherever they are, and by all else on the host."""
        arrays = (self.observations, self.next_observations, self.actions, self.rewards, self.dones, self.timeouts)
        return self._frames.nbytes + sum(array.nbytes for array in arrays)

    def add(
        self,
        obs: np.ndarray,
        next_obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Store a transition of each environment. Arrays may be reused after the call.

        Args:
            obs: `[N, *observation_space.shape]`.
            next_obs: as `obs`, of the same episode: at its end the terminal observation, not the next episode's first.
            action: `[N, *action_space.shape]`.
            reward: `[N]`.
            done: `[N]`, whether the episode ended, for whatever reason.
            infos: of each environment; `TimeLimit.truncated` is read.

        Raises:
            ValueError: a shape is another, or the stacks do not show each other's frames; nothing is stored then.
        """
        links = self._frames.to(self.device).add(obs, next_obs, np.asarray(done, bool))
        self.observations.links[self.pos], self.next_observations.links[self.pos] = links  # type: ignore[attr-defined]
        self.actions[self.pos] = action.reshape(self.n_envs, self.action_dim)
        self.rewards[self.pos] = reward
        self.dones[self.pos] = done
        if self.handle_timeout_termination:
            self.timeouts[self.pos] = [info.get("TimeLimit.truncated", False) for info in infos]
        self.pos += 1
        if self.pos == self.buffer_size:
            self.full, self.pos = True, 0

    def reset(self) -> None:
        """Forget all transitions."""
        super().reset()
        self._frames.clear()

    def to_torch(self, array: np.ndarray | Tensor, copy: bool = True) -> Tensor:
        """A tensor on the device; stacks are tensors of their own already."""
        return array.to(self.device) if isinstance(array, Tensor) else super().to_torch(array, copy)

    def _get_samples(self, batch_inds: np.ndarray, env: VecNormalize | None = None) -> ReplayBufferSamples:
        self._frames.to(self.device)  # where the host says that it is, after loading
        if self.n_steps == 1:
            return ReplayBuffer._get_samples(self, batch_inds, env)
        return super()._get_samples(batch_inds, env)

    @staticmethod
    def _normalize_obs(obs: Any, env: VecNormalize | None = None) -> Any:
        """Stacks as the host normalizes them, on the host, or the tensor itself."""
        return obs if env is None or not env.norm_obs else env.normalize_obs(obs.cpu().numpy())


class _Layout(NamedTuple):
    """How frames lie in an observation: `stack` of them side by side on `axis`, newest last."""

    shape: tuple[int, ...]  # of an observation
    axis: int
    stack: int

    @property
    def frame(self) -> tuple[int, ...]:
        """Shape of one frame."""
        return (*self.shape[: self.axis], self.shape[self.axis] // self.stack, *self.shape[self.axis + 1 :])

    def split(self, obs: np.ndarray) -> np.ndarray:
        """A view [N, stack, *frame] of observations [N, *shape]."""
        before, after = self.frame[: self.axis], self.frame[self.axis :]
        return np.moveaxis(obs.reshape(len(obs), *before, self.stack, *after), 1 + self.axis, 1)

    def join(self, frames: Tensor) -> Tensor:
        """Observations [B, *shape] of frames [B · stack, numbers in a frame]."""
        parts = frames.view(-1, self.stack, *self.frame)
        return parts.movedim(1, 1 + self.axis).reshape(-1, *self.shape)


def _layout(space: spaces.Space, stack: int | None) -> _Layout:
    """Where frames lie in images of `space`."""
    if not is_image_space(space, normalized_image=True):
        host = "DictReplayBuffer" if isinstance(space, spaces.Dict) else "ReplayBuffer"
        raise ValueError(f"FrameReplayBuffer holds images [C, H, W], got {space}: use stable-baselines3's {host}")
    assert isinstance(space, spaces.Box)
    axis = 0 if is_image_space_channels_first(space) else 2
    stack = space.shape[axis] if stack is None else stack
    if stack < 1 or space.shape[axis] % stack:
        raise ValueError(f"stack must divide the channels of {space.shape}, on axis {axis}, got {stack}")
    return _Layout(space.shape, axis, stack)


class _Stacks:
    """Stacks by row and environment, read as the host reads its array of them; rows never written are zeros."""

    def __init__(self, frames: _Frames, rows: int) -> None:
        self._frames = frames
        self.links = np.zeros((rows, frames.num_envs, frames.layout.stack), np.int32)

    @property
    def nbytes(self) -> int:
        return self.links.nbytes

    def __getitem__(self, index: Any) -> Tensor:
        """Observations at any NumPy index of rows and environments, [..., *shape]."""
        return self._frames.gather(self.links[index])


class _Frames:
    """Each frame once. Places: 0 is a frame of zeros, then a ring with one for each step, then spare ones.

    The ring takes the newest frame of each `next_obs`, spare places what else a stack shows that begins anew. A place
    is used again when the last row that shows its frame is gone: up to `stack` rows after the row that brought it.
    """

    def __init__(self, rows: int, num_envs: int, layout: _Layout, dtype: Any, device: torch.device) -> None:
        self.num_envs, self.layout = num_envs, layout
        self._rows, self._ring_rows = rows, rows + layout.stack
        self._dtype = torch.from_numpy(np.zeros(0, dtype)).dtype
        self._numbers, places = prod(layout.frame), self._ring_rows * num_envs + 1
        self._check_memory(places * self._numbers * self._dtype.itemsize, device)
        self._ring = torch.empty((places, self._numbers), dtype=self._dtype, device=device)
        self._ring[0] = 0
        self._spare = self._ring[:0]
        self._free: list[int] = []
        self._lent: deque[tuple[int, int]] = deque()  # row that brought the frame, place among the spare
        self._last = np.zeros((num_envs, layout.stack, *layout.frame), dtype)  # newest next_obs
        self._last_links = np.zeros((num_envs, layout.stack), np.int32)
        self._added = 0  # rows, ever

    @property
    def nbytes(self) -> int:
        return self._ring.nbytes + self._spare.nbytes + self._last.nbytes + self._last_links.nbytes

    def to(self, device: torch.device) -> _Frames:
        self._ring, self._spare = self._ring.to(device), self._spare.to(device)
        return self

    def clear(self) -> None:
        self._free += [place for _, place in self._lent]
        self._lent.clear()
        self._last[:] = self._last_links[:] = self._added = 0

    def add(self, obs: np.ndarray, next_obs: np.ndarray, done: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Store what is new in both, [N, *shape] each; the places of their frames, [N, stack] each."""
        old, new = self._split("obs", obs), self._split("next_obs", next_obs)
        shifted = _equal(new[:, :-1], old[:, 1:])
        self._check(shifted | done)
        while self._lent and self._lent[0][0] + self.layout.stack - 1 <= self._added - self._rows:
            self._free.append(self._lent.popleft()[1])
        links = self._last_links.copy()
        for env in np.flatnonzero(~_equal(old, self._last)):
            links[env] = self._place(old[env])
        at = 1 + self._added % self._ring_rows * self.num_envs + np.arange(self.num_envs, dtype=np.int32)
        next_links = np.concatenate((links[:, 1:], at[:, None]), axis=1)
        for env in np.flatnonzero(~shifted):
            next_links[env, :-1] = self._place(new[env, :-1])
        self._last, self._last_links = new.copy(order="K"), next_links
        newest = torch.from_numpy(np.ascontiguousarray(self._last[:, -1])).view(self.num_envs, -1)
        self._ring[at[0] : at[0] + self.num_envs].copy_(newest, non_blocking=True)
        self._added += 1
        return links, next_links

    def gather(self, links: np.ndarray) -> Tensor:
        """Observations [..., *shape] of the frames at `links` [..., stack]."""
        flat, ring = links.reshape(-1), len(self._ring)
        frames = self._ring.index_select(0, self._index(np.where(flat < ring, flat, 0)))
        spare = np.flatnonzero(flat >= ring)
        if len(spare):
            frames[self._index(spare)] = self._spare.index_select(0, self._index(flat[spare] - ring))
        return self.layout.join(frames).view(*links.shape[:-1], *self.layout.shape)

    def _index(self, places: np.ndarray) -> Tensor:
        return torch.from_numpy(places).to(self._ring.device, non_blocking=True)

    def _place(self, stack: np.ndarray) -> list[int]:
        """Places of the frames of a stack that begins anew, [M, *frame]; zeros and repeats are not stored."""
        places: list[int] = []
        for i, frame in enumerate(stack):
            if not frame.any():
                places.append(0)
            elif i and np.array_equal(frame, stack[i - 1]):
                places.append(places[-1])
            else:
                places.append(self._lend(frame))
        return places

    def _lend(self, frame: np.ndarray) -> int:
        """Store a frame in a spare place; there are more of them if none is free."""
        if not self._free:
            size, more = len(self._spare), 16 + len(self._spare) // 2
            self._spare = torch.cat((self._spare, self._spare.new_empty((more, self._numbers))))
            self._free += range(size, size + more)
        place = self._free.pop()
        self._spare[place] = torch.from_numpy(frame.flatten())
        self._lent.append((self._added, place))
        return len(self._ring) + place

    def _split(self, name: str, obs: np.ndarray) -> np.ndarray:
        expected = (self.num_envs, *self.layout.shape)
        if obs.shape != expected:
            raise ValueError(f"{name} must be {list(expected)}, got {list(obs.shape)}")
        return self.layout.split(obs.astype(self._last.dtype, copy=False))

    def _check(self, goes_on: np.ndarray) -> None:
        """Refuse a stream of other stacks than these, before anything of it is stored."""
        stack, axis = self.layout.stack, self.layout.axis
        advice = "use stable-baselines3's ReplayBuffer, or another `stack` (1: images are not stacked)"
        if not goes_on.all():
            env, channels = int(goes_on.argmin()), f"of {stack} frames on axis {axis}, newest last"
            raise ValueError(
                f"obs and next_obs of environment {env} are no stacks {channels}, that share {stack - 1}: {advice}"
            )
        if len(self._lent) > (self._added + _SLACK) * self.num_envs:
            raise ValueError(f"{len(self._lent)} frames do not continue the step before, in {self._added} rows: {advice}")

    def _check_memory(self, needed: int, device: torch.device) -> None:
        """Warn as the host does: memory on the host is taken only when it is filled."""
        if needed > (free := free_memory(device)):
            steps = self._rows * self.num_envs
            warnings.warn(
                f"buffer_size={steps} needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free on {device}", stacklevel=4
            )

    def __getstate__(self) -> dict[str, Any]:
        """Only what is filled, as arrays, so that it can be read on any device."""
        filled = 1 + min(self._added, self._ring_rows) * self.num_envs
        arrays = {"_ring": self._ring[:filled].cpu().numpy(), "_spare": self._spare.cpu().numpy()}
        return self.__dict__ | arrays

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state | {name: torch.from_numpy(state[name]) for name in ("_ring", "_spare")}
        places = self._ring_rows * self.num_envs + 1
        if len(filled := self._ring) < places:
            self._ring = filled.new_empty((places, self._numbers))
            self._ring[: len(filled)] = filled


def _equal(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether all numbers of an environment are the same, [N]."""
    return (one == other).all(axis=tuple(range(1, one.ndim)))
