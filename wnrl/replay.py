"""Experience replay that stores each frame once and samples n-step transitions."""

from collections import deque
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from wnrl.memory import check_memory
from wnrl.n_step import Row, n_step_return

__all__ = ["Replay", "Transition", "replay_bytes"]

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


class Replay:
    """The last steps of N environments in lockstep, sampled uniformly as n-step transitions.

    Row t holds, for each environment, an observation, the reward and discount of the transition that led to it, and
    the action chosen there. The transition from t to t + 1 exists unless row t + 1 is an episode's first; an episode
    that so ends with discount 1 was truncated and bootstraps from its last observation. With `stack` > 1 only the
    newest frame of each observation is stored; stacks are gathered on sampling, with zeros before an episode's first
    frame. The starts of row t can be sampled once row t + n is there.

    Args:
        capacity: transitions to hold, in steps over all environments; rounded up to whole rows.
        num_envs: N.
        obs_shape: shape of one observation; `[stack, *frame]` where `stack` > 1.
        obs_dtype: its dtype; `add` takes no other.
        stack: frames in an observation, newest last; 1 stores observations as they are.
        n_step: steps n of a transition.
        gamma: discount γ of one step.
        device: where frames are kept and sampled.
        seed: of this replay's own generator.

    Raises:
        ValueError: a number below 1, an `obs_shape` that does not begin with `stack`, or too little memory.
    """

    def __init__(
        self,
        capacity: int,
        num_envs: int,
        obs_shape: Sequence[int],
        obs_dtype: torch.dtype,
        *,
        stack: int = 1,
        n_step: int = 1,
        gamma: float = 0.99,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self._start_rows, self._frame_rows = _rows(capacity, num_envs, stack, n_step)
        check_memory(replay_bytes(capacity, num_envs, obs_shape, obs_dtype, stack, n_step), device, capacity)
        self._num_envs, self._obs_shape = num_envs, tuple(obs_shape)
        self._stack, self._n_step, self._gamma = stack, n_step, gamma
        self._config = {
            "capacity": capacity,
            "num_envs": num_envs,
            "obs_shape": list(obs_shape),
            "obs_dtype": str(obs_dtype),
            "stack": stack,
            "n_step": n_step,
            "gamma": gamma,
        }
        starts, frames = self._start_rows * num_envs, self._frame_rows * num_envs
        self._frames = torch.empty((frames + 1, prod(_frame_shape(obs_shape, stack))), dtype=obs_dtype, device=device)
        self._frames[-1] = 0  # what stands before an episode's first frame
        self._links = torch.empty((starts, _LINKS), dtype=torch.int32, device=device)
        self._returns = torch.empty((starts, _RETURNS), dtype=torch.float32, device=device)
        self._back = torch.arange(stack - 1, -1, -1, device=device)  # [stack] rows back of each frame in a stack
        self._generator = torch.Generator(device).manual_seed(seed)
        self._window: deque[Row] = deque(maxlen=n_step + 1)  # rows t - n … t
        self._counts: deque[int] = deque()  # starts of each row that can be sampled, oldest first
        self._added = self._released = self._size = 0  # rows, starts ever, starts now

    def __len__(self) -> int:
        """Transitions that can be sampled now."""
        return self._size

    @property
    def nbytes(self) -> int:
        """Bytes taken on the device, as `replay_bytes` counts them."""
        return self._frames.nbytes + self._links.nbytes + self._returns.nbytes

    def add(self, obs: Any, action: ArrayLike, reward: ArrayLike, discount: ArrayLike, first: ArrayLike) -> None:
        """Store row t. Arrays may be reused after the call; an `obs` in pinned memory once the device has copied it.

        Args:
            obs: `[N, *obs_shape]`, array or tensor.
            action: `[N]` integers chosen at this row.
            reward: `[N]` of the transition that led here; ignored where `first`.
            discount: `[N]`, 0 where that transition terminated the episode or lost a life, else 1 (truncation too).
            first: `[N]` bool, an episode's first observation: no transition led here.

        Raises:
            ValueError: a shape or dtype is another than these; nothing is stored then.
        """
        frame = self._newest_frame(obs)
        row = Row(
            self._column("action", action, "iu", np.int64),
            self._column("reward", reward, "fiub", np.float64),
            self._column("discount", discount, "fiub", np.float64),
            began := self._column("first", first, "b", np.bool_),
            self._history(began),
        )
        at = self._added % self._frame_rows * self._num_envs
        self._frames[at : at + self._num_envs].copy_(frame, non_blocking=True)
        self._window.append(row)
        self._added += 1
        if len(self._window) == self._window.maxlen:
            self._release()

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Transition:
        """Draw `batch_size` transitions uniformly, with replacement, without waiting for the device.

        Args:
            batch_size: B.
            generator: of this draw, on the replay's device; without it the replay's own.

        Raises:
            ValueError: there is no transition yet, or `batch_size` is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        if not self._size:
            raise ValueError(f"nothing to sample after {self._added} rows: add rows until len(replay) is above 0")
        generator = self._generator if generator is None else generator
        uniform = torch.rand(batch_size, dtype=torch.float64, device=self._frames.device, generator=generator)
        return self._gather(self._index((uniform * self._size).long()))

    def get_state(self) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and numbers; only what is filled, and without copying it.

        The tensors share this replay's memory: write or clone them before the next `add`.
        """
        window = {f"window_{name}": self._window_column(name) for name in Row._fields}
        return {
            "config": dict(self._config),
            "added": self._added,
            "released": self._released,
            "counts": torch.tensor(self._counts, dtype=torch.int32),
            "generator": self._generator.get_state(),
            **self._filled(self._added, self._released),
            **window,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what `get_state` gave; the next samples are the same, bit for bit.

        Raises:
            ValueError: the state is of a replay with other arguments, on another kind of device, or incomplete.
        """
        self._check_state(state)
        self._generator.set_state(state["generator"].cpu())
        self._added, self._released = state["added"], state["released"]
        self._counts = deque(state["counts"].tolist())
        self._size = sum(self._counts)
        for name, filled in self._filled(self._added, self._released).items():
            filled.copy_(state[name])
        columns = [state[f"window_{name}"].cpu().numpy() for name in Row._fields]
        self._window.clear()
        self._window.extend(Row(*(column.copy() for column in row)) for row in zip(*columns, strict=True))

    def _release(self) -> None:
        """Append the starts of the window's oldest row, and drop those of the row that they replace."""
        gain = n_step_return(self._window, self._gamma)
        row, envs = self._added - len(self._window), np.arange(self._num_envs)
        start = row % self._frame_rows * self._num_envs + envs
        end = (row + gain.steps) % self._frame_rows * self._num_envs + envs
        links = np.stack((start, end, self._window[0].history, gain.history, self._window[0].action), axis=1)
        exists = gain.steps > 0
        if len(self._counts) == self._start_rows:
            self._size -= self._counts.popleft()
        self._append(links[exists].astype(np.int32), np.stack((gain.reward, gain.discount), axis=1)[exists])

    def _append(self, links: np.ndarray, returns: np.ndarray) -> None:
        """Write starts, [K, 5] and [K, 2], behind the newest in the ring."""
        count, tail = len(links), self._released % len(self._links)
        fits = min(count, len(self._links) - tail)
        for ring, rows in ((self._links, links), (self._returns, returns.astype(np.float32))):
            new = torch.from_numpy(rows)
            ring[tail : tail + fits].copy_(new[:fits], non_blocking=True)
            if fits < count:
                ring[: count - fits].copy_(new[fits:], non_blocking=True)
        self._counts.append(count)
        self._size += count
        self._released += count

    def _index(self, age: Tensor) -> Tensor:
        """Places in the ring of starts, [B], from their places in order of age (0: the oldest)."""
        return (age + (self._released - self._size)) % len(self._links)

    def _gather(self, index: Tensor) -> Transition:
        """The transitions at `index`, [B] places in the ring of starts; a pure function of tensors."""
        links = self._links.index_select(0, index).t().long()  # [5, B]: start, end, both histories, action
        reward, discount = self._returns.index_select(0, index).t().contiguous()
        obs, next_obs = self._stacks(links[:2].reshape(-1), links[2:4].reshape(-1)).chunk(2)
        return Transition(obs, links[4].contiguous(), reward, discount, next_obs)

    def _stacks(self, rows: Tensor, history: Tensor) -> Tensor:
        """Observations [M, *obs_shape] at `rows` [M], with zeros beyond their `history` [M]."""
        nothing = len(self._frames) - 1
        frames = (rows[:, None] - self._back * self._num_envs) % nothing  # [M, stack]
        frames = torch.where(self._back <= history[:, None], frames, nothing)
        return self._frames.index_select(0, frames.flatten()).view(-1, *self._obs_shape)

    def _newest_frame(self, obs: Any) -> Tensor:
        """Check `obs` and take what is to be stored of it, [N, numbers in a frame]."""
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

    def _column(self, name: str, values: ArrayLike, kinds: str, dtype: type[np.generic]) -> np.ndarray:
        """Check one number for each environment, and copy them."""
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
        if array.shape != (self._num_envs,):
            raise ValueError(f"{name} must be [{self._num_envs}], got {list(array.shape)}")
        if array.dtype.kind not in kinds:
            raise ValueError(f"{name} must be {np.dtype(dtype)} or convert to it, got {array.dtype}")
        return array.astype(dtype)

    def _history(self, first: np.ndarray) -> np.ndarray:
        """Earlier frames that the new row's stacks show, [N]: none where an episode or the stream begins."""
        if not self._window:
            return np.zeros(self._num_envs, np.int64)
        return np.where(first, 0, np.minimum(self._window[-1].history + 1, self._stack - 1))

    def _filled(self, added: int, released: int) -> dict[str, Tensor]:
        """Views of what has been written after so many rows and starts."""
        frames, starts = min(added, self._frame_rows) * self._num_envs, min(released, len(self._links))
        return {"frames": self._frames[:frames], "links": self._links[:starts], "returns": self._returns[:starts]}

    def _window_column(self, name: str) -> Tensor:
        """One field of the window's rows, [rows, N]."""
        columns = [getattr(row, name) for row in self._window]
        return torch.from_numpy(np.stack(columns)) if columns else torch.empty(0, self._num_envs)

    def _check_state(self, state: Mapping[str, Any]) -> None:
        """Refuse a state that is not of a replay like this one."""
        missing = self.get_state().keys() - state.keys()
        if missing:
            raise ValueError(f"the state lacks {', '.join(sorted(missing))}: it is not one of a replay")
        if state["config"] != self._config:
            raise ValueError(f"the state is of a replay with {state['config']}: this one has {self._config}")
        if state["generator"].shape != self._generator.get_state().shape:
            raise ValueError(
                f"the state is of a replay on another kind of device: this one is on {self._frames.device}"
            )
        expected: dict[str, Sequence[int]]
        expected = {name: view.shape for name, view in self._filled(state["added"], state["released"]).items()}
        rows = min(state["added"], self._n_step + 1)
        expected |= {f"window_{name}": (rows, self._num_envs) for name in Row._fields}
        for name, shape in expected.items():
            if tuple(state[name].shape) != tuple(shape):
                raise ValueError(f"{name} of the state must be {list(shape)}, got {list(state[name].shape)}")
