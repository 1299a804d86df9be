"""Atari games on ale-py's C++ threads as a `VecEnv` of stable-baselines3."""

from __future__ import annotations

import time
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices, VecEnvStepReturn

from envs import Atari, TimeStep
from envs.stream import check_action

__all__ = ["AtariVecEnv"]

_SEEDS = 2**31  # ale-py takes 31 bits
_FRAMES_PER_SECOND = 60  # of the console


class AtariVecEnv(VecEnv):
    """N copies of an Atari game that are emulated, preprocessed and stacked in C++ threads.

    It stands for `VecFrameStack(make_atari_env("BreakoutNoFrameskip-v4", n), 4)`, with the same meaning of rewards,
    lives, `done`, truncation and scores; `docs/sb3-atari.md` lists what differs. Observations are stacks of greyscale
    frames, channel-first `[stack, 84, 84]` uint8, oldest first and zero-padded after each `done`.

    Each `infos[i]` has `lives`, `episode_frame_number` and ``TimeLimit.truncated``; where `done`, the
    `terminal_observation` too, and at the end of a game its `episode` with the true score `r`, its length `l` in
    emulator frames and the time `t` in seconds, as a ``Monitor`` gives them.

    Args:
        game: a name such as `"Breakout"` or `"SpaceInvaders"`, the ROM id, or an id such as `"BreakoutNoFrameskip-v4"`,
            whose own sticky actions and frame skip are not taken over.
        n_envs: N.
        seed: environment `i` is seeded with `seed + i` at the next `reset()`, as the host's are; None draws one.
        terminal_on_life_loss: `done` at each lost life too; the game goes on, and in games that have FIRE the next step
            presses it, whatever its action is.
        clip_reward: rewards are the sign of the game's own.
        options: further arguments of `envs.Atari`: `noop_max` (30), `fire_reset` (True), `sticky_actions` (0.0),
            `full_action_set` (False), `max_frames` (108,000), `frame_skip` (4), `stack` (4), `num_threads` (0: one per
            processor) and `render_mode` (None). With `"rgb_array"` a further emulator plays environment 0 in colour,
            which `render()` shows.

    Raises:
        ValueError: an unknown game, or a number out of range.
    """

    _score: np.ndarray  # [N], of the game so far
    _shown: np.ndarray  # [N], frames in the stack that are not from before the last `done`
    _lives: np.ndarray  # [N], at the last observation
    _serves: np.ndarray  # [N], whether the next step presses FIRE

    def __init__(
        self,
        game: str,
        n_envs: int = 1,
        *,
        seed: int | None = None,
        terminal_on_life_loss: bool = True,
        clip_reward: bool = True,
        **options: Any,
    ) -> None:
        self._atari = Atari(game, n_envs, life_loss=False, **options)
        self.terminal_on_life_loss, self.clip_reward = terminal_on_life_loss, clip_reward
        self._render_mode = options.get("render_mode")
        fires = options.get("fire_reset", True) and "FIRE" in self._atari.action_meanings
        self._fire = self._atari.action_meanings.index("FIRE") if fires else None
        images = spaces.Box(0, 255, self._atari.obs_shape, np.uint8)
        super().__init__(n_envs, images, spaces.Discrete(self._atari.num_actions))
        metadata: dict[str, Any] = self.metadata
        metadata["render_fps"] = max(1, _FRAMES_PER_SECOND // self._atari.frame_skip)
        self._made, self._pending, self._closed = time.time(), False, False
        self._begin()
        if seed is not None:
            self.seed(seed)

    def reset(self) -> np.ndarray:
        """Start new games in all environments: their first observations, `[N, stack, 84, 84]`.

        Raises:
            RuntimeError: the environment is closed.
            ValueError: there are reset options, of which these games have none.
        """
        self._check_open()
        if any(self._options):
            raise ValueError(f"AtariVecEnv has no reset options, got {self._options}")
        if self._pending:
            self._atari.recv()
            self._pending = False
        seeds = [seed % _SEEDS for seed in self._seeds if seed is not None]
        self._reset_seeds()
        obs = self._atari.reset(np.array(seeds, np.int64) if seeds else None).obs
        self._begin()
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        """Begin a step in the C++ threads.

        Args:
            actions: `[N]` integer.

        Raises:
            ValueError: a wrong shape, or an action that the game has not.
            RuntimeError: before the first `reset()`, amid a step, or after `close()`.
        """
        self._check_open()
        if self._pending:
            raise RuntimeError("step_wait() comes before the next step_async()")
        actions = check_action(actions, self.num_envs, self._atari.num_actions)
        self._atari.send(actions if self._fire is None else np.where(self._serves, self._fire, actions))
        self._pending = True

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for the step: observations `[N, stack, 84, 84]`, rewards `[N]` float32, dones `[N]` bool, and infos.

        Raises:
            RuntimeError: `step_async` has not been called.
        """
        if not self._pending:
            raise RuntimeError("step_async() comes before step_wait()")
        step, self._pending = self._atari.recv(), False
        lives = self._atari.lives
        lost = (lives > 0) & (lives < self._lives) & self.terminal_on_life_loss
        done = step.last | lost
        self._score += step.reward
        self._shown += 1
        self._blank(step.obs)
        infos = self._infos(step, done, truncated=step.last & (step.discount == 1) & ~lost)
        if step.last.any():
            step.obs[step.last] = self._atari.restart()[step.last]
            self._score[step.last] = 0
            self._report_lives(np.flatnonzero(step.last))
        self._shown[done] = 1
        self._blank(step.obs)
        self._lives, self._serves = self._atari.lives, lost & ~step.last
        reward = np.sign(step.reward) if self.clip_reward else step.reward
        return step.obs, reward.astype(np.float32), done, infos

    def close(self) -> None:
        """Close the emulators; a second call does nothing."""
        if self._closed:
            return
        if self._pending:
            self._atari.recv()
        self._atari.close()
        self._pending, self._closed = False, True

    def get_images(self) -> list[np.ndarray | None]:
        """The picture of environment 0, RGB `[210, 160, 3]` uint8; the others have none.

        Raises:
            RuntimeError: `render_mode` is not `"rgb_array"`.
        """
        return [self._atari.render()]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """`render_mode`, `metadata`, `observation_space`, `action_space` or `lives` of each environment.

        Raises:
            AttributeError: any other name.
        """
        if attr_name == "render_mode":
            values = [self._render_mode] * self._atari.num_envs
        elif attr_name in ("metadata", "observation_space", "action_space"):
            values = [getattr(self, attr_name)] * self.num_envs
        elif attr_name == "lives":
            values = self._atari.lives.tolist()
        else:
            self._refuse(attr_name, "render_mode, metadata, observation_space, action_space and lives")
        return [values[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Nothing can be set: raises AttributeError."""
        raise AttributeError(f"{attr_name!r} cannot be set: make an AtariVecEnv with other arguments")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """What `get_action_meanings` returns in each environment, the names of the actions.

        Raises:
            AttributeError: any other method.
        """
        if method_name != "get_action_meanings":
            self._refuse(method_name, "get_action_meanings")
        return [list(self._atari.action_meanings) for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """True for a ``Monitor``, whose scores `infos` have; False for any other wrapper."""
        return [issubclass(Monitor, wrapper_class) for _ in self._get_indices(indices)]

    def _begin(self) -> None:
        """The state at the first observations of new games."""
        self._score, self._shown = np.zeros(self.num_envs), np.ones(self.num_envs, np.int64)
        self._lives, self._serves = self._atari.lives, np.zeros(self.num_envs, np.bool_)
        self._report_lives(np.arange(self.num_envs))

    def _report_lives(self, envs: np.ndarray) -> None:
        for env in envs.tolist():
            self.reset_infos[env] = {"lives": int(self._atari.lives[env])}

    def _blank(self, obs: np.ndarray) -> None:
        """Zero the frames of `obs` from before the last `done`: all but the newest `_shown`."""
        for env in np.flatnonzero(self._shown < self._atari.stack).tolist():
            obs[env, : -self._shown[env]] = 0

    def _infos(self, step: TimeStep, done: np.ndarray, truncated: np.ndarray) -> list[dict[str, Any]]:
        """The `infos` of a step, before ended games are replaced by new ones."""
        lives, frames = self._atari.lives.tolist(), self._atari.episode_frames.tolist()
        infos: list[dict[str, Any]] = [
            {"lives": left, "episode_frame_number": frame, "TimeLimit.truncated": cut}
            for left, frame, cut in zip(lives, frames, truncated.tolist(), strict=True)
        ]
        for env in np.flatnonzero(done).tolist():
            infos[env]["terminal_observation"] = step.obs[env].copy()
        for env in np.flatnonzero(step.last).tolist():
            seconds = round(time.time() - self._made, 6)
            infos[env]["episode"] = {"r": round(float(self._score[env]), 6), "l": frames[env], "t": seconds}
        return infos

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("AtariVecEnv is closed: make a new one")

    def _refuse(self, name: str, known: str) -> NoReturn:
        raise AttributeError(f"the games of AtariVecEnv run in C++ and have no {name!r}: there is {known}")

    def __getstate__(self) -> NoReturn:
        raise TypeError("AtariVecEnv cannot be pickled or copied, its emulators run in threads: make a new one")
