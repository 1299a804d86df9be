"""Any Gymnasium environment with discrete or continuous actions."""

from __future__ import annotations

import difflib
import re
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import FlattenObservation, TransformObservation

from envs.games import game_name, game_names
from envs.seeds import environment_seeds
from envs.stream import Environment, TimeStep, check_action, check_num_envs, clip_action, first_rows

_VARIANT = re.compile(r"(-ram)?(Deterministic|NoFrameskip)?-v\d+$")  # of an Atari id, after the game


class Gym(Environment):
    """N copies of a Gymnasium environment, stepped one after the other.

    Observations are float32 vectors. Spaces that are not vectors are flattened, discrete ones to one-hot. Images, uint8
    ``[H, W, C]``, stay uint8 and are transposed to channels first, ``[C, H, W]``.

    Actions are those of a ``Discrete`` space, always counted from 0, or of a one-dimensional float ``Box`` ``[D]``,
    bounded or not. Continuous actions are clipped to its bounds, as in stable-baselines3.

    Args:
        id: a registered id, for example ``CartPole-v1``.
        num_envs: N.
        render_mode: passed to Gymnasium; ``"rgb_array"`` to have `render`.
        kwargs: passed to the environment.

    Raises:
        ValueError: an unknown id (the message suggests similar ones), an Atari id, a dependency that is not installed,
            another kind of action space, or an observation space without a fixed size.
    """

    def __init__(self, id: Any, num_envs: int = 1, *, render_mode: str | None = None, **kwargs: Any) -> None:
        self.num_envs = check_num_envs(num_envs)
        self._env = _make(id, num_envs, render_mode, kwargs)
        observations = self._env.single_observation_space
        assert isinstance(observations, spaces.Box)
        self._actions = _supported(self._env.single_action_space)
        if isinstance(self._actions, spaces.Discrete):
            self.num_actions = int(self._actions.n)
        else:
            self.num_actions = 0
            self.action_low = self._actions.low.astype(np.float32)
            self.action_high = self._actions.high.astype(np.float32)
        self.obs_shape = observations.shape
        self.obs_dtype = np.dtype(np.uint8 if len(self.obs_shape) == 3 else np.float32)
        self._last: np.ndarray | None = None  # [N]

    def reset(self, seed: int | np.ndarray | None = None) -> TimeStep:
        seeds = None if seed is None else environment_seeds(seed, self.num_envs).tolist()
        obs, _ = self._env.reset(seed=seeds)
        self._last = np.zeros(self.num_envs, np.bool_)
        return first_rows(obs.astype(self.obs_dtype, copy=False))

    def step(self, action: np.ndarray) -> TimeStep:
        action = self._checked(action)
        if self._last is None:
            raise RuntimeError("reset() comes before the first step()")
        obs, reward, terminated, truncated, _ = self._env.step(action)
        first, self._last = self._last, terminated | truncated
        obs = obs.astype(self.obs_dtype, copy=False)
        return TimeStep(obs, reward.astype(np.float64), (~terminated).astype(np.float32), first, self._last.copy())

    def render(self) -> np.ndarray:
        if self._env.render_mode != "rgb_array":
            raise RuntimeError('nothing to render: make the environment with render_mode="rgb_array"')
        try:
            return np.asarray(self._env.envs[0].render())
        except gymnasium.error.DependencyNotInstalled as error:
            raise RuntimeError(_one_line(error)) from error

    def close(self) -> None:
        self._env.close()

    def _checked(self, action: np.ndarray) -> np.ndarray:
        """The actions as Gymnasium takes them: ``[N]`` int64 from the space's start on, or ``[N, D]`` in its bounds."""
        if isinstance(self._actions, spaces.Discrete):
            return check_action(action, self.num_envs, self.num_actions) + self._actions.start
        return clip_action(action, self.num_envs, self._actions.low, self._actions.high)


def _make(id: str, num_envs: int, render_mode: str | None, kwargs: dict[str, Any]) -> SyncVectorEnv:
    """Make the vector environment; any failure is a ValueError with a one-line message."""
    refuse_atari(id)
    try:
        env = gymnasium.make_vec(
            id,
            num_envs,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.NEXT_STEP},
            wrappers=[_preprocess],
            render_mode=render_mode,
            **kwargs,
        )
    except gymnasium.error.UnregisteredEnv as error:
        raise ValueError(_unknown(id)) from error
    except (gymnasium.error.Error, ImportError) as error:
        raise ValueError(f"cannot make {id}: {_one_line(error)}") from error
    assert isinstance(env, SyncVectorEnv)
    return env


def _preprocess(env: gymnasium.Env) -> gymnasium.Wrapper:
    """Check the action space of one environment, and make its observations vectors or channels-first images."""
    _supported(env.action_space)
    space = env.observation_space
    if isinstance(space, spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8:
        return _channels_first(env, space)
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return gymnasium.Wrapper(env)
    if not space.is_np_flattenable:
        raise ValueError(f"observations must have a fixed size, got {space}")
    return FlattenObservation(env)


def _supported(space: spaces.Space) -> spaces.Discrete | spaces.Box:
    """Return the action space; raise ValueError if `Gym` does not support its kind."""
    if isinstance(space, spaces.Discrete):
        return space
    if isinstance(space, spaces.Box) and len(space.shape) == 1 and space.shape[0] > 0 and space.dtype.kind == "f":
        return space
    raise ValueError(f"the action space must be Discrete or a float Box of one dimension, got {_one_line(space)}")


def _channels_first(env: gymnasium.Env, space: spaces.Box) -> gymnasium.Wrapper:
    if space.shape[0] < space.shape[2]:  # already channels first, by the shorter axis
        return gymnasium.Wrapper(env)
    turned = spaces.Box(space.low.transpose(2, 0, 1), space.high.transpose(2, 0, 1), dtype=np.uint8)
    return TransformObservation(env, lambda obs: np.ascontiguousarray(obs.transpose(2, 0, 1)), turned)


def refuse_atari(id: str) -> None:
    """Raise ValueError where that is the id of an Atari game, whose environments have a frame skip of their own."""
    name = id.rpartition(":")[2]  # without the module that registers it
    spec = gymnasium.registry.get(name)
    if spec is None:
        game = _VARIANT.sub("", name.removeprefix("ALE/"))
    else:
        game = game_name(spec.kwargs["game"]) if str(spec.entry_point).startswith("ale_py") else ""
    if game in game_names():
        raise ValueError(f"{id} is an Atari game: use --game {game} (game={game!r}), not --env")
    if name.startswith("ALE/"):
        raise ValueError(f"{id} is an Atari id: use --game NAME (game='Breakout'), not --env")


def _unknown(id: str) -> str:
    ids = [i for i, spec in gymnasium.registry.items() if not str(spec.entry_point).startswith("ale_py")]
    near = difflib.get_close_matches(id, ids, n=3)
    suggestion = f"did you mean {' or '.join(near)}?" if near else "no registered id is like it"
    return f"unknown environment {id!r}: {suggestion}"


def _one_line(message: object) -> str:
    return " ".join(str(message).split())
