"""The interface of environments: time steps of N environments in lockstep, with next-step autoreset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class StateError(ValueError):
    """The state of an environment cannot be taken, or one does not fit an environment; its text is one line."""


class TimeStep(NamedTuple):
    """One row for each of N environments.

    A row with ``last`` is followed by a row with ``first``. The action between them is ignored, and there is no
    transition between the two rows.

    Attributes:
        obs: ``[N, *obs_shape]``; at the end of an episode its true final observation.
        reward: ``[N]`` float64, the environment's own, never clipped or rounded; 0 on a first row.
        discount: ``[N]`` float32, 0 at termination and 1 otherwise; truncation is not termination.
        first: ``[N]`` bool, the first observation of an episode: no transition leads to this row.
        last: ``[N]`` bool, the end of the whole episode, terminated or truncated.
    """

    obs: np.ndarray
    reward: np.ndarray
    discount: np.ndarray
    first: np.ndarray
    last: np.ndarray


def first_rows(obs: np.ndarray) -> TimeStep:
    """The time step of a reset: N first rows with the observations ``obs`` ``[N, *obs_shape]``."""
    n = len(obs)
    return TimeStep(obs, np.zeros(n), np.ones(n, np.float32), np.ones(n, np.bool_), np.zeros(n, np.bool_))


class Environment(ABC):
    """N environments in lockstep.

    Attributes:
        num_envs: N.
        num_actions: discrete actions are 0 to ``num_actions - 1``; 0 where actions are continuous.
        action_low: lower bound of continuous actions, ``[D]`` float32, may be ``-inf``; None: discrete actions.
        action_high: upper bound of continuous actions, ``[D]`` float32, may be ``inf``; None: discrete actions.
        obs_shape: shape of one observation.
        obs_dtype: dtype of an observation, uint8 for images and float32 for vectors.
        stack: frames stacked along the first axis of an observation, oldest first; 1 where there is no stack.
        frame_skip: emulator frames, or steps of an environment of Gymnasium, in one step.
        render_fps: steps a second in real time, each of which has a picture.
        action_meanings: names of the discrete actions; empty where they have none.
    """

    num_envs: int
    num_actions: int
    action_low: np.ndarray | None = None
    action_high: np.ndarray | None = None
    obs_shape: tuple[int, ...]
    obs_dtype: np.dtype
    stack: int = 1
    frame_skip: int = 1
    render_fps: float = 30.0
    action_meanings: Sequence[str] = ()
    _sent: np.ndarray

    @property
    def resumable(self) -> bool:
        """Whether ``get_state()`` and ``set_state()`` are available; they are exact."""
        return False

    @property
    def action_size(self) -> int:
        """D, the numbers in a continuous action; 0 where actions are discrete."""
        return 0 if self.action_low is None else len(self.action_low)

    @abstractmethod
    def reset(self, seed: int | np.ndarray | None = None) -> TimeStep:
        """Start an episode in every environment.

        Args:
            seed: each environment is seeded with a number of its own that is drawn from this one, see `envs.seeds`; or
                these numbers, ``[N]``; None continues with the random generators as they are.

        Raises:
            ValueError: as `envs.seeds.environment_seeds`.
        """

    @abstractmethod
    def step(self, action: np.ndarray) -> TimeStep:
        """Take one step in every environment.

        Args:
            action: ``[N]`` integer, or ``[N, D]`` float where actions are continuous: these are clipped to
                ``action_low`` and ``action_high``. Ignored, though checked, where the row before was ``last``.

        Raises:
            ValueError: a wrong shape or dtype, an integer outside ``0 … num_actions - 1``, or a float that is not
                finite.
            RuntimeError: before the first ``reset()``.
        """

    def send(self, action: np.ndarray) -> None:
        """Begin a step, whose row ``recv()`` returns; no other method may be called in between.

        Environments that do not step in the background make the whole step in ``recv()``.

        Args:
            action: as `step` takes it.

        Raises:
            ValueError, RuntimeError: as `step`; some environments raise them in ``recv()``.
        """
        self._sent = action

    def recv(self) -> TimeStep:
        """Wait for the step that ``send()`` began, and return its row."""
        return self.step(self._sent)

    def render(self) -> np.ndarray:
        """The picture of environment 0, RGB ``[H, W, 3]`` uint8.

        Raises:
            RuntimeError: there is no picture, or ``render_mode`` is not ``"rgb_array"``.
        """
        raise RuntimeError(f"{type(self).__name__} has no picture to render")

    def get_state(self) -> dict[str, np.ndarray]:
        """Everything that further steps depend on, as arrays.

        Raises:
            RuntimeError: ``resumable`` is False.
            StateError: it cannot be saved now.
        """
        raise RuntimeError(f"the state of {type(self).__name__} cannot be saved: it is not resumable")

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Continue exactly from a state that ``get_state()`` returned.

        Raises:
            RuntimeError: ``resumable`` is False.
            StateError: the state does not fit; the next call must be `reset`.
        """
        raise RuntimeError(f"the state of {type(self).__name__} cannot be restored: it is not resumable")

    def close(self) -> None:  # noqa: B027 - most have nothing to release
        """Release threads and windows; the environment is not used afterwards."""


def restored_row(state: Mapping[str, Any], environment: Environment) -> TimeStep:
    """The time step whose fields are ``state``.

    Raises:
        StateError: it is none of this environment.
    """
    n = environment.num_envs
    like = TimeStep(np.zeros((n, *environment.obs_shape), environment.obs_dtype), *first_rows(np.zeros(n))[1:])
    for name, array in like._asdict().items():
        found = state.get(name)
        if not isinstance(found, np.ndarray) or (found.dtype, found.shape) != (array.dtype, array.shape):
            raise StateError(f"the row's {name} must be {array.dtype} {list(array.shape)}")
    return TimeStep(*(state[name] for name in TimeStep._fields))


def check_num_envs(num_envs: int) -> int:
    """Return ``num_envs``; raise ValueError if it is below 1."""
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}")
    return num_envs


def check_action(action: np.ndarray, num_envs: int, num_actions: int) -> np.ndarray:
    """Return discrete actions as ``[N]`` int64.

    Raises:
        ValueError: a wrong shape, a dtype that is not integer, or a value outside ``0 … num_actions - 1``.
    """
    action = np.asarray(action)
    if action.shape != (num_envs,) or action.dtype.kind not in "iu":
        raise ValueError(f"action must be [{num_envs}] integer, got {list(action.shape)} {action.dtype}")
    if action.min() < 0 or action.max() >= num_actions:
        raise ValueError(f"action must be in 0 … {num_actions - 1}, got {action.tolist()}")
    return action.astype(np.int64, copy=False)


def clip_action(action: np.ndarray, num_envs: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Clip continuous actions to their bounds, as stable-baselines3 does, into a new ``[N, D]`` array.

    Args:
        action: ``[N, D]`` of any float dtype.
        num_envs: N.
        low: ``[D]``, may be ``-inf``; its dtype is that of the result.
        high: ``[D]``, may be ``inf``.

    Raises:
        ValueError: a wrong shape, a dtype that is not float, or a value that is not finite in the dtype of ``low``.
    """
    action = np.asarray(action)
    if action.shape != (num_envs, len(low)) or action.dtype.kind != "f":
        raise ValueError(f"action must be [{num_envs}, {len(low)}] float, got {list(action.shape)} {action.dtype}")
    with np.errstate(over="ignore"):  # reported below
        action = action.astype(low.dtype, copy=False)
    if not np.isfinite(action).all():
        raise ValueError(f"action must be finite {low.dtype}, got {action.tolist()}")
    return np.clip(action, low, high)
