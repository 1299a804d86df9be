"""Experience replay that stores each frame once and samples n-step transitions."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from wnrl.device import check_memory
from wnrl.replay.n_step import Row, n_step_return
from wnrl.replay.transition_store import Transition, TransitionStore, replay_bytes

__all__ = ["Replay", "Transition", "replay_bytes"]


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
        check_memory(replay_bytes(capacity, num_envs, obs_shape, obs_dtype, stack, n_step), device, capacity)
        self._num_envs, self._stack, self._n_step, self._gamma = num_envs, stack, n_step, gamma
        self._config = {
            "capacity": capacity,
            "num_envs": num_envs,
            "obs_shape": list(obs_shape),
            "obs_dtype": str(obs_dtype),
            "stack": stack,
            "n_step": n_step,
            "gamma": gamma,
        }
        self._store = TransitionStore(capacity, num_envs, obs_shape, obs_dtype, stack, n_step, device)
        self._generator = torch.Generator(device).manual_seed(seed)
        self._window: deque[Row] = deque(maxlen=n_step + 1)  # rows t - n … t
        self._counts: deque[int] = deque()  # starts of each row that can be sampled, oldest first
        self._added = self._released = self._size = 0  # rows, starts ever, starts now
        self._live_size, self._live_oldest = torch.zeros(2, dtype=torch.int64, device=device).unbind()  # for draws

    def __len__(self) -> int:
        """Transitions that can be sampled now."""
        return self._size

    @property
    def generator(self) -> torch.Generator:
        """Of draws."""
        return self._generator

    @property
    def nbytes(self) -> int:
        """Bytes taken on the device, as `replay_bytes` counts them."""
        return self._store.nbytes

    def add(self, obs: Any, action: ArrayLike, reward: ArrayLike, discount: ArrayLike, first: ArrayLike) -> None:
        """Store row t. Arrays may be reused after the call.

        Args:
            obs: `[N, *obs_shape]`, array or tensor.
            action: `[N]` integers chosen at this row.
            reward: `[N]` of the transition that led here; ignored where `first`.
            discount: `[N]`, 0 where that transition terminated the episode or lost a life, else 1 (truncation too).
            first: `[N]` bool, an episode's first observation: no transition led here.

        Raises:
            ValueError: a shape or dtype is another than these; nothing is stored then.
        """
        frame = self._store.newest_frame(obs)
        row = Row(
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
        """Draw `batch_size` transitions uniformly, with replacement, without waiting for the device.

        Args:
            batch_size: B.
            generator: of this draw, on the replay's device; without it the replay's own.

        Raises:
            ValueError: there is no transition yet, or `batch_size` is below 1.
        """
        uniform = self._uniform(batch_size, generator)
        return self._store.gather(self._index((uniform * self._live_size).long()))

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
            **self._store.filled(self._added, self._released),
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
        self._tell_device()
        for name, filled in self._store.filled(self._added, self._released).items():
            filled.copy_(state[name])
        columns = [state[f"window_{name}"].cpu().numpy() for name in Row._fields]
        self._window.clear()
        self._window.extend(Row(*(column.copy() for column in row)) for row in zip(*columns, strict=True))

    def _release(self) -> None:
        """Append the starts of the window's oldest row, and drop those of the row that they replace."""
        gain = n_step_return(self._window, self._gamma)
        row, oldest = self._added - len(self._window), self._window[0]
        start, end = self._store.frame_places(row), self._store.frame_places(row + gain.steps)
        links = np.stack((start, end, oldest.history, gain.history, oldest.action), axis=1)
        returns = np.stack((gain.reward, gain.discount), axis=1)
        exists = gain.steps > 0
        if len(self._counts) == self._store.start_rows:
            self._size -= self._counts.popleft()
        self._append(links[exists], returns[exists])

    def _append(self, links: np.ndarray, returns: np.ndarray) -> None:
        """Write starts, [K, 5] and [K, 2], behind the newest in the ring."""
        self._store.write_starts(self._released, links, returns)
        self._counts.append(len(links))
        self._size += len(links)
        self._released += len(links)
        self._tell_device()

    def _tell_device(self) -> None:
        """Write the numbers that draws depend on where draws are made: a captured draw sees them change."""
        self._live_size.fill_(self._size)
        self._live_oldest.fill_(self._oldest)

    @property
    def _oldest(self) -> int:
        """Starts dropped ever, which is the number of the oldest that is left."""
        return self._released - self._size

    def _uniform(self, batch_size: int, generator: torch.Generator | None) -> Tensor:
        """Draws from [0, 1) for a batch, [B] float64."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        if not self._size:
            raise ValueError(f"nothing to sample after {self._added} rows: add rows until len(replay) is above 0")
        generator = self._generator if generator is None else generator
        return torch.rand(batch_size, dtype=torch.float64, device=self._store.device, generator=generator)

    def _index(self, age: Tensor) -> Tensor:
        """Places in the ring of starts, [B], from their places in order of age (0: the oldest)."""
        return (age + self._live_oldest) % self._store.starts

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
            raise ValueError(f"the state is of a replay on another kind of device: this one is on {self._store.device}")
        expected: dict[str, Sequence[int]]
        expected = {name: view.shape for name, view in self._store.filled(state["added"], state["released"]).items()}
        rows = min(state["added"], self._n_step + 1)
        expected |= {f"window_{name}": (rows, self._num_envs) for name in Row._fields}
        for name, shape in expected.items():
            if tuple(state[name].shape) != tuple(shape):
                raise ValueError(f"{name} of the state must be {list(shape)}, got {list(state[name].shape)}")
