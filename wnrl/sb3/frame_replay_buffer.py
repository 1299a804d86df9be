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
from stable_baselines3.her import HerReplayBuffer
from torch import Tensor

from wnrl.device import free_memory

__all__ = ["FrameReplayBuffer"]

_HER = "FrameReplayBuffer holds images without goals, use stable-baselines3's HerReplayBuffer for HER"
_ARGUMENTS_OF_HER = ("env", "n_sampled_goal", "goal_selection_strategy", "copy_info_dict")
_SLACK = 256  # spare frames per environment allowed beyond one per stored step


class FrameReplayBuffer(NStepReplayBuffer):
    """A `replay_buffer_class` with the samples of the host's buffer at 1/8 of its memory (for stacks of 4 frames).

    Samples are those of ``ReplayBuffer`` (``NStepReplayBuffer`` if `n_steps` > 1) for the same steps and the same NumPy
    seed, bit for bit; the host's own code draws them. Only the storage of images differs: each frame once, on `device`,
    and for each stack the slots of its frames. Padding (zeros or repeats) before an episode's first frame takes no
    memory; the first frame and an episode's last are stored. Every added stack is compared with the previous one.

    Args:
        buffer_size: transitions to hold, over all environments; rounded down to whole rows as the host does.
        observation_space: a Box of images, `[C, H, W]` or `[H, W, C]`; the host's rule decides which axis is C.
        action_space: any that the host supports.
        device: of the frames and the samples.
        n_envs: N.
        optimize_memory_usage: must be False; the host's mode of that name loses an episode's last frame.
        handle_timeout_termination: whether ``TimeLimit.truncated`` in `infos` cancels `done` in samples.
        n_steps: steps of a transition. The algorithm's own `n_steps` does not reach a custom buffer.
        gamma: discount of one step, used if `n_steps` > 1.
        stack: frames on the channel axis, newest last; by default each channel is a frame, 1: images are not stacked.

    Raises:
        ValueError: an unsupported space, `stack` or mode.
        TypeError: an argument of another buffer; a subclass that is a ``HerReplayBuffer`` too.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if issubclass(cls, HerReplayBuffer):
            raise TypeError(f"{cls.__name__}: {_HER}")

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
        **unknown: Any,
    ) -> None:
        if unknown:
            hint = "" if unknown.keys().isdisjoint(_ARGUMENTS_OF_HER) else f": {_HER}"
            raise TypeError(f"FrameReplayBuffer takes no {', '.join(unknown)}{hint}")
        layout = _layout(observation_space, stack)
        if optimize_memory_usage:
            raise ValueError("FrameReplayBuffer stores frames once anyway: leave optimize_memory_usage=False")
        # one row at first, so that the host's arrays of stacks take no memory
        super().__init__(n_envs, observation_space, action_space, device, n_envs, n_steps=n_steps, gamma=gamma)
        self.handle_timeout_termination = handle_timeout_termination
        self.buffer_size = max(buffer_size // n_envs, 1)
        for name in ("actions", "rewards", "dones", "timeouts"):
            setattr(self, name, np.repeat(getattr(self, name), self.buffer_size, axis=0))
        self._frames = _Frames(self.buffer_size, n_envs, layout, self.observations.dtype, self.device)
        self.observations = _Stacks(self._frames, 0)  # type: ignore[assignment]
        self.next_observations = _Stacks(self._frames, 1)  # type: ignore[assignment]

    @property
    def nbytes(self) -> int:
        """Bytes of the frames, on whichever device, and of all other arrays on the host."""
        return sum(x.nbytes for x in (self._frames, self.actions, self.rewards, self.dones, self.timeouts))

    def add(
        self,
        obs: np.ndarray,
        next_obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Store a transition of each environment, as the host does; arrays may be reused after the call.

        Args:
            obs: `[N, *observation_space.shape]`.
            next_obs: as `obs`; the terminal observation if `done`. Only then may it lack the frames of `obs`.
            action: `[N, *action_space.shape]`.
            reward: `[N]`.
            done: `[N]`, whether the episode ended, for whatever reason.
            infos: of each environment.

        Raises:
            ValueError: a wrong shape, or observations that are not stacks of frames; nothing is stored then.
        """
        action = np.reshape(action, (self.n_envs, self.action_dim))
        reward, done = np.reshape(reward, self.n_envs), np.reshape(done, self.n_envs)
        self._frames.to(self.device)
        self._frames.add(self.pos, obs, next_obs, done != 0)
        self.actions[self.pos], self.rewards[self.pos], self.dones[self.pos] = action, reward, done
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
        """A tensor on the device; stacks are tensors already."""
        return array.to(self.device) if isinstance(array, Tensor) else super().to_torch(array, copy)

    def _get_samples(self, batch_inds: np.ndarray, env: VecNormalize | None = None) -> ReplayBufferSamples:
        self._frames.to(self.device)  # which the host may have changed by loading
        if self.n_steps == 1:
            return ReplayBuffer._get_samples(self, batch_inds, env)
        return super()._get_samples(batch_inds, env)

    @staticmethod
    def _normalize_obs(obs: Any, env: VecNormalize | None = None) -> Any:
        """Stacks normalized by the host's function, on the CPU, or the tensor itself."""
        return obs if env is None or not env.norm_obs else env.normalize_obs(obs.cpu().numpy())


class _Layout(NamedTuple):
    """The frames in an observation: `stack` of them, concatenated on `axis` (0 or 2), newest last."""

    shape: tuple[int, ...]  # of an observation
    axis: int
    stack: int

    def split(self, obs: np.ndarray) -> np.ndarray:
        """Frames [N, stack, numbers in a frame] of observations [N, *shape], a view if the memory format allows it."""
        channels_first = obs if self.axis == 0 else np.moveaxis(obs, 3, 1)
        return np.ascontiguousarray(channels_first).reshape(len(obs), self.stack, -1)

    def join(self, frames: Tensor) -> Tensor:
        """Observations [B, *shape] of frames [B · stack, numbers in a frame]."""
        if self.axis == 0:
            return frames.view(-1, *self.shape)
        return frames.view(-1, self.shape[2], *self.shape[:2]).movedim(1, 3).contiguous()


def _layout(space: spaces.Space, stack: int | None) -> _Layout:
    """The layout of frames in images of `space`."""
    if not (isinstance(space, spaces.Box) and is_image_space(space, normalized_image=True)):
        if isinstance(space, spaces.Dict) and "desired_goal" in space.spaces:
            raise ValueError(f"{_HER}, got {space}")
        host = "DictReplayBuffer" if isinstance(space, spaces.Dict) else "ReplayBuffer"
        raise ValueError(f"FrameReplayBuffer holds images [C, H, W], got {space}: use stable-baselines3's {host}")
    axis = 0 if is_image_space_channels_first(space) else 2
    stack = space.shape[axis] if stack is None else stack
    if stack < 1 or space.shape[axis] % stack:
        raise ValueError(f"stack must divide the channels of {space.shape}, on axis {axis}, got {stack}")
    return _Layout(space.shape, axis, stack)


class _Stacks:
    """The host's array of observations (`side` 0) or next ones (1), to read: [..., *shape] at rows and environments."""

    def __init__(self, frames: _Frames, side: int) -> None:
        self._frames, self._side = frames, side

    def __getitem__(self, index: Any) -> Tensor:
        return self._frames.gather(self._frames.links[self._side][index])


class _Frames:
    """Storage of each frame once. Slots: 0 is a frame of zeros, then a ring with one for each step, then spare ones.

    The ring holds the newest frame of each `next_obs`; spare slots hold the other frames of stacks that do not continue
    the previous one. A slot is reused when no row refers to its frame any more: up to `stack` rows after the row that
    added it.
    """

    def __init__(self, rows: int, num_envs: int, layout: _Layout, dtype: np.dtype, device: torch.device) -> None:
        self.num_envs, self.layout = num_envs, layout
        self._rows, self._ring_rows = rows, rows + layout.stack
        self._numbers, self._places = prod(layout.shape) // layout.stack, self._ring_rows * num_envs + 1
        _warn_of_memory(self._places * self._numbers * dtype.itemsize, device)
        self._spare = torch.from_numpy(np.zeros((0, self._numbers), dtype)).to(device)
        self._ring = self._spare.new_empty((self._places, self._numbers))
        self._ring[0] = 0
        self._free: list[int] = []
        self._lent: deque[tuple[int, int]] = deque()  # row that added the frame, its spare slot
        self._last = np.zeros((num_envs, layout.stack, self._numbers), dtype)  # newest next_obs
        self.links = np.zeros((2, rows, num_envs, layout.stack), np.int32)  # slots of each frame of obs and next_obs
        self._added = 0  # rows, ever

    @property
    def nbytes(self) -> int:
        return self._ring.nbytes + self._spare.nbytes + self.links.nbytes + self._last.nbytes

    def to(self, device: torch.device) -> None:
        self._ring, self._spare = self._ring.to(device), self._spare.to(device)

    def clear(self) -> None:
        self._free += [slot for _, slot in self._lent]
        self._lent.clear()
        self._last[:] = self.links[:] = self._added = 0

    def add(self, row: int, obs: np.ndarray, next_obs: np.ndarray, done: np.ndarray) -> None:
        """Store what is new in obs and next_obs, [N, *shape], and link the row to it; rows come one after another."""
        old, new = self._split(obs), self._split(next_obs)
        shifted = _equal(new[:, :-1], old[:, 1:])
        self._check(shifted | done)
        while self._lent and self._lent[0][0] + self.layout.stack - 1 <= self._added - self._rows:
            self._free.append(self._lent.popleft()[1])
        links = self.links[1, row - 1].copy()
        for env in np.flatnonzero(~_equal(old, self._last)):
            links[env] = self._store_stack(old[env])
        at = 1 + self._added % self._ring_rows * self.num_envs + np.arange(self.num_envs, dtype=np.int32)
        next_links = np.concatenate((links[:, 1:], at[:, None]), axis=1)
        for env in np.flatnonzero(~shifted):
            next_links[env, :-1] = self._store_stack(new[env, :-1])
        self._last = new.copy()
        self._ring[at[0] : at[0] + self.num_envs].copy_(torch.from_numpy(self._last[:, -1]), non_blocking=True)
        self.links[:, row] = links, next_links
        self._added += 1

    def gather(self, links: np.ndarray) -> Tensor:
        """Observations [..., *shape] of the frames at `links` [..., stack]."""
        flat = links.reshape(-1)
        spare = np.flatnonzero(flat >= self._places)
        frames = self._ring.index_select(0, self._index(np.where(flat < self._places, flat, 0)))
        if len(spare):
            frames[self._index(spare)] = self._spare.index_select(0, self._index(flat[spare] - self._places))
        return self.layout.join(frames).view(*links.shape[:-1], *self.layout.shape)

    def _index(self, slots: np.ndarray) -> Tensor:
        return torch.from_numpy(slots).to(self._ring.device, non_blocking=True)

    def _store_stack(self, stack: np.ndarray) -> list[int]:
        """Store the frames [M, numbers] of a stack that does not continue another; returns their slots."""
        slots: list[int] = []
        for frame, before in zip(stack, [None, *stack], strict=False):
            if before is not None and np.array_equal(frame, before):  # a repeat
                slots.append(slots[-1])
            else:
                slots.append(self._store_spare(frame) if frame.any() else 0)
        return slots

    def _store_spare(self, frame: np.ndarray) -> int:
        """Store a frame in a spare slot; more are allocated if none is free."""
        if not self._free:
            size, more = len(self._spare), 16 + len(self._spare) // 2
            self._spare = torch.cat((self._spare, self._spare.new_empty((more, self._numbers))))
            self._free += range(size, size + more)
        slot = self._free.pop()
        self._spare[slot] = torch.from_numpy(frame.copy())
        self._lent.append((self._added, slot))
        return self._places + slot

    def _split(self, obs: np.ndarray) -> np.ndarray:
        expected = (self.num_envs, *self.layout.shape)
        if obs.shape != expected:
            raise ValueError(f"obs and next_obs must be {list(expected)}, got {list(obs.shape)}")
        return self.layout.split(obs.astype(self._last.dtype, copy=False))

    def _check(self, goes_on: np.ndarray) -> None:
        """Refuse observations that are not such stacks, before anything is stored."""
        advice = "use stable-baselines3's ReplayBuffer, or another `stack` (1: images are not stacked)"
        if not goes_on.all():
            stacks = f"stacks of {self.layout.stack} frames on axis {self.layout.axis}, newest last"
            raise ValueError(f"obs and next_obs of environment {goes_on.argmin()} are no {stacks}: {advice}")
        if len(self._lent) > (min(self._added, self._ring_rows) + _SLACK) * self.num_envs:
            raise ValueError(f"{len(self._lent)} frames start new stacks in {self._added} rows: {advice}")

    def __getstate__(self) -> dict[str, Any]:
        """Only the filled part, as arrays, so that it can be loaded on any device."""
        filled = 1 + min(self._added, self._ring_rows) * self.num_envs
        arrays = {"_ring": self._ring[:filled].cpu().numpy(), "_spare": self._spare.cpu().numpy()}
        return self.__dict__ | arrays

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state | {name: torch.from_numpy(state[name]) for name in ("_ring", "_spare")}
        if len(filled := self._ring) < self._places:
            self._ring = filled.new_empty((self._places, self._numbers))
            self._ring[: len(filled)] = filled


def _equal(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether all numbers of an environment are equal, [N]."""
    return (one == other).all(axis=(1, 2))


def _warn_of_memory(needed: int, device: torch.device) -> None:
    """Warn, as the host does: a run may never fill the whole buffer."""
    if needed > (free := free_memory(device)):
        warnings.warn(f"buffer_size needs {needed / 1e9:.1f} GB, {device} has {free / 1e9:.1f} GB free", stacklevel=4)
