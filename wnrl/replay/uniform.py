"""A replay buffer that stores each frame once and samples n-step transitions uniformly."""

import copy
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from wnrl.device import check_memory
from wnrl.replay.layout import ReplayLayout
from wnrl.replay.n_step import PendingRow, n_step_return
from wnrl.replay.transition_store import Transition, TransitionStore

__all__ = ["Replay", "Transition"]


class Replay:
    """A replay buffer of the last steps of N environments in lockstep, sampled uniformly as n-step transitions.

    Row t holds, for each environment, an observation, the reward and discount of the transition that led to it, and
    the action chosen there. There is a transition from t to t + 1 unless row t + 1 is the first of an episode; an
    episode that ends there with discount 1 was truncated, and bootstraps from its last observation. With `stack` > 1
    only the newest frame of each observation is stored; stacks are gathered on sampling, with zeros before the first
    frame of an episode. Transitions from row t can be sampled once row t + n is there.

    Args:
        layout: sizes of the buffer.
        gamma: discount γ of one step.
        device: where frames are stored and sampled.
        seed: of the buffer's own generator.

    Raises:
        ValueError: too little memory.
    """

    def __init__(
        self, layout: ReplayLayout, *, gamma: float = 0.99, device: torch.device | str = "cpu", seed: int = 0
    ) -> None:
        check_memory(self.required_bytes(layout), device, layout.capacity)
        self._layout, self._gamma = layout, gamma
        shape, dtype = list(layout.obs_shape), str(layout.obs_dtype)
        self._config = {**asdict(layout), "obs_shape": shape, "obs_dtype": dtype, "gamma": gamma}  # for checkpoints
        self._store = TransitionStore(layout, device)
        self._generator = torch.Generator(device).manual_seed(seed)
        self._window: deque[PendingRow] = deque(maxlen=layout.n_step + 1)  # rows t - n … t
        self._counts: deque[int] = deque()  # transitions that start in each row, oldest first
        self._added = self._released = self._size = 0  # rows so far, starts so far, starts now
        self._live_size, self._live_oldest = torch.zeros(2, dtype=torch.int64, device=device).unbind()  # for draws

    def __len__(self) -> int:
        """Transitions that can be sampled now."""
        return self._size

    @property
    def generator(self) -> torch.Generator:
        """The generator of draws that are given none."""
        return self._generator

    @staticmethod
    def required_bytes(layout: ReplayLayout) -> int:
        """Bytes on the device that a buffer of this layout takes."""
        return layout.bytes

    @property
    def nbytes(self) -> int:
        """Bytes taken on the device, as `required_bytes` counts them."""
        return self._store.nbytes

    def add(self, obs: Any, action: ArrayLike, reward: ArrayLike, discount: ArrayLike, first: ArrayLike) -> None:
        """Store the next row. Arrays may be reused after the call.

        Args:
            obs: `[N, *obs_shape]`, array or tensor.
            action: `[N]` integers, chosen at this row.
            reward: `[N]` of the transition that led to this row; ignored where `first`.
            discount: `[N]`, 0 where that transition terminated the episode or lost a life, else 1, at truncation too.
            first: `[N]` bool, the first observations of episodes, to which no transition leads.

        Raises:
            ValueError: another shape or dtype; nothing is stored then.
        """
        frame = self._store.newest_frame(obs)
        row = PendingRow(
            self._column("action", action, "iu", np.int64),
            self._column("reward", reward, "fiub", np.float64),
            self._column("discount", discount, "fiub", np.float64),
            began := self._column("first", first, "b", np.bool_),
            self._history(began),
        )
        self._store.write_frames(self._added, frame)
        self._window.append(row)
        self._added += 1
        if len(self._window) == self._window.maxlen:
            self._release()

    def sample(self, batch_size: int, generator: torch.Generator | None = None) -> Transition:
        """Draw `batch_size` transitions uniformly, with replacement, without synchronizing with the device.

        Args:
            batch_size: B.
            generator: of this draw, on the buffer's device; None takes the buffer's own.

        Raises:
            ValueError: there is no transition yet, or `batch_size` is below 1.
        """
        return self.at(self.places(self._uniform(batch_size, generator)))

    def draw(self, batch_size: int) -> Tensor:
        """Uniform numbers from [0, 1), `[B]` float64, by the buffer's generator: `sample` is `at(places(draw(B)))`."""
        return self._uniform(batch_size, None)

    def places(self, uniform: Tensor) -> Tensor:
        """Indices `[B]` for `at` of the transitions that uniform numbers `[B]` say; a pure function of tensors."""
        return self._index((uniform * self._live_size).long())

    def at(self, places: Tensor) -> Transition:
        """The transitions at these indices `[B]` in the ring; a pure function of tensors."""
        return self._store.gather(places)

    def get_state(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as tensors and numbers; of the rings only the filled part.

        The tensors share the buffer's memory: write or clone them before the next `add`.
        """
        window = {f"window_{name}": self._window_column(name) for name in PendingRow._fields}
        return {
            "config": dict(self._config),
            "added": self._added,
            "released": self._released,
            "counts": torch.from_numpy(np.fromiter(self._counts, np.int32, len(self._counts))),
            "generator": self._generator.get_state(),
            **self._store.filled(self._added, self._released),
            **window,
        }

    def snapshot(self) -> dict[str, Any]:
        """As `get_state`, of now: the state does not change when rows are added.

        The frames, which are not copied, are streams for another thread to store; until it has read them, rows that
        `add` overwrites are copied first. Of these 256 MiB are kept, then `add` waits for the reader: a snapshot has to
        be read, closed (`frames[0].close()`) or dropped.
        """
        state = self.get_state()
        del state["frames"]
        return {**copy.deepcopy(state), "frames": self._store.frozen_frames(self._added)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `get_state` returned, or `snapshot` once its frames were read into tensors, as a
        checkpoint does; the next samples are the same, bit for bit.

        Raises:
            ValueError: the state is of a buffer with other arguments or on another kind of device, or is incomplete.
        """
        self._check_state(state)
        self._generator.set_state(state["generator"].cpu())
        self._added, self._released = state["added"], state["released"]
        self._counts = deque(state["counts"].tolist())
        self._size = sum(self._counts)
        self._update_device_counts()
        for name, filled in self._store.filled(self._added, self._released).items():
            parts = state[name] if isinstance(state[name], list) else [state[name]]
            for rows, part in zip(filled.split([len(part) for part in parts]), parts, strict=True):
                rows.copy_(part)
        columns = [state[f"window_{name}"].cpu().numpy() for name in PendingRow._fields]
        self._window.clear()
        self._window.extend(PendingRow(*(column.copy() for column in row)) for row in zip(*columns, strict=True))

    def _release(self) -> None:
        """Append the transitions from the oldest row of the window, and drop those of the row that they replace."""
        gain = n_step_return(self._window, self._gamma)
        row, oldest = self._added - len(self._window), self._window[0]
        start, end = self._store.frame_indices(row), self._store.frame_indices(row + gain.steps)
        links = np.stack((start, end, oldest.history, gain.history, oldest.action), axis=1)
        returns = np.stack((gain.reward, gain.discount), axis=1)
        exists = gain.steps > 0
        if len(self._counts) == self._store.start_rows:
            self._size -= self._counts.popleft()
        count = int(exists.sum())
        self._store.write_starts(self._released, links[exists], returns[exists])
        self._counts.append(count)
        self._size += count
        self._released += count
        self._update_device_counts()

    def _update_device_counts(self) -> None:
        """Copy the counts that draws depend on to the device, where a captured draw reads them."""
        self._live_size.fill_(self._size)
        self._live_oldest.fill_(self._oldest)

    @property
    def _oldest(self) -> int:
        """The number, since the start, of the oldest transition that is held."""
        return self._released - self._size

    def _uniform(self, batch_size: int, generator: torch.Generator | None) -> Tensor:
        """Uniform draws from [0, 1) for a batch, [B] float64."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        if not self._size:
            raise ValueError(f"nothing to sample after {self._added} rows: add rows until len(replay) is above 0")
        generator = self._generator if generator is None else generator
        return torch.rand(batch_size, dtype=torch.float64, device=self._live_size.device, generator=generator)

    def _index(self, age: Tensor) -> Tensor:
        """Indices in the ring of starts, [B], of the transitions of rank `age` [B] (0: the oldest)."""
        return (age + self._live_oldest) % self._store.starts

    def _column(self, name: str, values: ArrayLike, kinds: str, dtype: type[np.generic]) -> np.ndarray:
        """Check a field of one number per environment, and copy it."""
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
        if array.shape != (self._layout.num_envs,):
            raise ValueError(f"{name} must be [{self._layout.num_envs}], got {list(array.shape)}")
        if array.dtype.kind not in kinds:
            raise ValueError(f"{name} must be {np.dtype(dtype)} or convert to it, got {array.dtype}")
        return array.astype(dtype)

    def _history(self, first: np.ndarray) -> np.ndarray:
        """Earlier frames in the stacks of the new row, [N]: 0 where an episode or the stream begins."""
        if not self._window:
            return np.zeros(self._layout.num_envs, np.int64)
        return np.where(first, 0, np.minimum(self._window[-1].history + 1, self._layout.stack - 1))

    def _window_column(self, name: str) -> Tensor:
        """A field of the rows of the window, [rows, N]."""
        columns = [getattr(row, name) for row in self._window]
        return torch.from_numpy(np.stack(columns)) if columns else torch.empty(0, self._layout.num_envs)

    def _check_state(self, state: Mapping[str, Any]) -> None:
        """Refuse a state of a buffer that differs from this one."""
        missing = self.get_state().keys() - state.keys()
        if missing:
            raise ValueError(f"the state lacks {', '.join(sorted(missing))}: it is not one of a replay")
        if state["config"] != self._config:
            raise ValueError(f"the state is of a replay with {state['config']}: this one has {self._config}")
        if state["generator"].shape != self._generator.get_state().shape:
            raise ValueError(f"the state is of a replay on another kind of device than {self._store.device}: use that")
        expected: dict[str, Sequence[int]]
        expected = {name: view.shape for name, view in self._store.filled(state["added"], state["released"]).items()}
        rows = min(state["added"], self._layout.n_step + 1)
        expected |= {f"window_{name}": (rows, self._layout.num_envs) for name in PendingRow._fields}
        for name, shape in expected.items():
            found = _joint_shape(state[name])
            if found != tuple(shape):
                raise ValueError(f"{name} of the state must be {list(shape)}, got {list(found)}")


def _joint_shape(parts: Tensor | list[Tensor]) -> tuple[int, ...]:
    """The shape of a tensor, or of one in several parts along the first dimension."""
    if isinstance(parts, Tensor):
        return tuple(parts.shape)
    if len({part.shape[1:] for part in parts}) != 1:
        raise ValueError(f"the parts must be equal but for their length, got {[list(part.shape) for part in parts]}")
    return (sum(len(part) for part in parts), *parts[0].shape[1:])
