"""Any Gymnasium environment with discrete or continuous actions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from envs.faults import EnvironmentFault
from envs.guard import Guard, check_finite
from envs.interface import frames_stacked, obs_format
from envs.makers import Maker, Source, describe
from envs.preprocessing import Preprocessing, any_action, check_actions
from envs.processes import Processes, leave_signals_to_the_run
from envs.restoration import restore
from envs.resumability import resumable
from envs.seeds import environment_seeds
from envs.serial import Serial
from envs.snapshots import capture
from envs.stream import Environment, StateError, TimeStep, check_action, check_num_envs, clip_action, first_rows

Vectorization = Literal["sync", "async"]


class Gym(Environment):
    """N copies of a Gymnasium environment, stepped one after the other or each in a process of its own.

    Observations are float32 vectors, or uint8 images with channels first, ``[C, H, W]``: see
    `envs.preprocessing.Preprocessing`.

    Actions are those of a ``Discrete`` space, always counted from 0, or of a one-dimensional float ``Box`` ``[D]``,
    bounded or not. Continuous actions are clipped to its bounds, as in stable-baselines3.

    Their state can be saved where they step in this process, hold nothing but plain data, and two others that are made
    for it, when `resumable` is first asked for, prove that it is enough, see `envs.resumability`.

    Args:
        id: a registered id, for example ``CartPole-v1``, or ``module:Id-v0``; or a class or function that makes an
            environment, called once for each, and for two more where `resumable` is asked for.
        num_envs: N.
        env_kwargs: passed to the environment.
        resize: height and width of images; None: as they are.
        grey: colour images become grey.
        frame_skip: steps of the environment in one step.
        stack: observations in one.
        vectorization: ``"async"``: each in a process of its own, for slow environments; with `send` and `recv` they
            step in the background.
        render_mode: ``"rgb_array"`` to have `render`; passed to the environment where it is set.
        kwargs: more of ``env_kwargs``, under names that are not among these.

    Raises:
        ValueError: an environment that cannot be made, see `envs.makers.Maker`, or spaces or options that do not fit,
            see `envs.preprocessing.Preprocessing`.
        EnvironmentFault: in `reset`, `step`, `send` and `recv`: an environment raises an error, its process dies, or it
            returns a reward that is no finite number, or an observation of a wrong shape or dtype, with a number that
            is not finite, or with a value far outside of an image's bounds, or an end that is no bool.
    """

    def __init__(
        self,
        id: Source,
        num_envs: int = 1,
        *,
        env_kwargs: Mapping[str, Any] | None = None,
        resize: tuple[int, int] | None = None,
        grey: bool = False,
        frame_skip: int = 1,
        stack: int = 1,
        vectorization: Vectorization = "sync",
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.num_envs, self.frame_skip = check_num_envs(num_envs), frame_skip
        make = Maker(id, {**(env_kwargs or {}), **kwargs}, render_mode)
        preprocessing = Preprocessing(resize, grey, frame_skip, stack)
        self._name, self._render_mode = make.name, render_mode
        self._wrapped = _Wrapped(make, preprocessing, os.getpid())
        self._env = _vectorized(self._wrapped, num_envs, vectorization)
        self._actions = check_actions(self._env.single_action_space)
        if isinstance(self._actions, spaces.Discrete):
            self.num_actions = int(self._actions.n)
        else:
            self.num_actions = 0
            self.action_low = self._actions.low.astype(np.float32)
            self.action_high = self._actions.high.astype(np.float32)
        self.obs_shape, self.obs_dtype = obs_format(self._env.single_observation_space)
        self.stack = frames_stacked(self.obs_shape, self.obs_dtype, stack)
        self.render_fps = render_fps(self._env.metadata) / frame_skip
        self.action_meanings = _action_meanings(self._env)
        self._last: np.ndarray | None = None  # [N]
        self._resumable: bool | None = None  # not asked for yet

    def reset(self, seed: int | np.ndarray | None = None) -> TimeStep:
        seeds = None if seed is None else environment_seeds(seed, self.num_envs).tolist()
        obs, _ = self._env.reset(seed=seeds)
        self._last = np.zeros(self.num_envs, np.bool_)
        row = first_rows(obs.astype(self.obs_dtype))
        check_finite(row.obs, row.reward)
        return row

    def step(self, action: np.ndarray) -> TimeStep:
        if isinstance(self._env, AsyncVectorEnv):
            self.send(action)
            return self.recv()
        return self._row(*self._env.step(self._checked(action)))

    def send(self, action: np.ndarray) -> None:
        if isinstance(self._env, AsyncVectorEnv):
            self._env.step_async(self._checked(action))
        else:
            super().send(action)

    def recv(self) -> TimeStep:
        if not isinstance(self._env, AsyncVectorEnv):
            return super().recv()
        return self._row(*self._env.step_wait())

    def render(self) -> np.ndarray:
        if self._render_mode != "rgb_array":
            raise RuntimeError('nothing to render: make the environment with render_mode="rgb_array"')
        if self._env.render_mode != "rgb_array":
            raise RuntimeError(f'{self._name} cannot be rendered: it takes no render_mode "rgb_array"')
        picture: Any
        try:
            picture = (
                self._env.call("render")[0] if isinstance(self._env, AsyncVectorEnv) else self._env.envs[0].render()
            )
        except gymnasium.error.DependencyNotInstalled as error:
            raise RuntimeError(describe(error)) from error
        except Exception as error:
            raise RuntimeError(f"{self._name} cannot be rendered: {describe(error)}") from error
        if np.ndim(picture) != 3 or np.shape(picture)[2] != 3:
            shape = f" {list(np.shape(picture))}" if np.ndim(picture) else ""
            got = "None" if picture is None else type(picture).__name__ + shape
            raise RuntimeError(f"{self._name} cannot be rendered: render() must return a picture [H, W, 3], got {got}")
        picture = np.asarray(picture)
        if picture.dtype.kind not in "iu":
            raise RuntimeError(f"{self._name} cannot be rendered: its picture must be uint8, got {picture.dtype}")
        return picture.astype(np.uint8, copy=False)

    @property
    def resumable(self) -> bool:
        if self._resumable is None:
            quiet = replace(self._wrapped, make=replace(self._wrapped.make, warns=False))
            envs = self._env.envs if isinstance(self._env, Serial) and self._render_mode is None else []
            self._resumable = bool(envs) and resumable(envs, quiet)
        return self._resumable

    def get_state(self) -> dict[str, np.ndarray]:
        if not self.resumable:
            return super().get_state()
        assert isinstance(self._env, Serial)
        if self._last is None:
            raise StateError("there is no state before the first reset()")
        return {"last": self._last.copy(), **capture(self._env.envs)}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        if not self.resumable:
            return super().set_state(state)
        assert isinstance(self._env, Serial)
        last = state.get("last")
        if not isinstance(last, np.ndarray) or last.dtype != np.bool_ or last.shape != (self.num_envs,):
            raise StateError(f"it is not of {self.num_envs} environments")
        self._last = None
        restore(self._env.envs, state, [any_action(self._actions)] * self.num_envs)
        self._last = last.copy()
        self._env.pend(last)

    def close(self) -> None:
        self._env.close()

    def _checked(self, action: np.ndarray) -> np.ndarray:
        """The actions as Gymnasium takes them: ``[N]`` from the space's start on, or ``[N, D]`` in its bounds."""
        if isinstance(self._actions, spaces.Discrete):
            action = check_action(action, self.num_envs, self.num_actions) + self._actions.start
            action = action.astype(self._actions.dtype, copy=False)
        else:
            action = clip_action(action, self.num_envs, self._actions.low, self._actions.high)
        if self._last is None:
            raise RuntimeError("reset() comes before the first step()")
        return action

    def _row(
        self, obs: np.ndarray, reward: np.ndarray, terminated: np.ndarray, truncated: np.ndarray, _: Any
    ) -> TimeStep:
        assert self._last is not None
        first, self._last = self._last, terminated | truncated
        obs = obs.astype(self.obs_dtype)  # a copy of what the next step overwrites
        check_finite(obs, reward)
        return TimeStep(obs, reward, (~terminated).astype(np.float32), first, self._last.copy())


def render_fps(metadata: Mapping[str, Any]) -> float:
    """Pictures a second of an environment, as its metadata have them; 30 where they say nothing that can be used."""
    fps = metadata.get("render_fps")
    return float(fps) if isinstance(fps, int | float) and 1 <= fps <= 1_000 else 30.0


def _action_meanings(env: SyncVectorEnv | AsyncVectorEnv) -> Sequence[str]:
    """Names of discrete actions, where environments in this process have them as Atari's do."""
    one = None if isinstance(env, AsyncVectorEnv) else getattr(env.envs[0].unwrapped, "get_action_meanings", None)
    try:
        names = [str(name) for name in one()] if callable(one) else []
    except Exception:
        return ()
    return names if names and len(names) == getattr(env.single_action_space, "n", 0) else ()


@dataclass(frozen=True)
class _Wrapped:
    """Makes one of the environments, wrapped."""

    make: Maker
    preprocessing: Preprocessing
    process: int  # that of the run
    index: int = 0

    def __call__(self) -> gymnasium.Env:
        if os.getpid() != self.process:
            leave_signals_to_the_run()
        env = self.make()
        try:
            return self.preprocessing(Guard(env, self.index))
        except BaseException:
            _close_quietly(env)
            raise


def _close_quietly(env: gymnasium.Env) -> None:
    """Close an environment after an error, which is the one to tell."""
    with suppress(Exception):
        env.close()


def _kept(made: ExitStack, make: Callable[[], gymnasium.Env]) -> gymnasium.Env:
    """An environment, which `made` will close."""
    env = make()
    made.callback(_close_quietly, env)
    return env


def _vectorized(make: _Wrapped, num_envs: int, vectorization: Vectorization) -> SyncVectorEnv | AsyncVectorEnv:
    kinds: dict[str, Any] = {"sync": Serial, "async": Processes}
    if vectorization not in kinds:
        raise ValueError(f"vectorization must be sync or async, got {vectorization!r}")
    try:
        makers: list[Callable[[], gymnasium.Env]] = [replace(make, index=index) for index in range(num_envs)]
        with ExitStack() as made:  # closes what was made before an error
            if vectorization == "sync":
                makers = [partial(_kept, made, one) for one in makers]
            vector = kinds[vectorization](makers, copy=False, autoreset_mode=AutoresetMode.NEXT_STEP)
            made.pop_all()
        return vector
    except EnvironmentFault as fault:
        raise ValueError(f"{make.make.name}: {fault}") from fault
    except (RuntimeError, EOFError, ConnectionError) as error:
        raise ValueError(f"{make.make.name}: {describe(error)}") from error
