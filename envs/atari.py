"""Atari games on ale-py's vector environment, which steps the emulators and preprocesses frames in C++ threads."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from ale_py.vector_env import AtariVectorEnv
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode

from envs.games import rom_id
from envs.seeds import environment_seeds
from envs.stream import Environment, TimeStep, check_action, check_num_envs, first_rows

_SCREEN = (210, 160)  # height and width of the picture of render()
_FRAMES_PER_SECOND = 60


class Atari(Environment):
    """N copies of a game: greyscale uint8 observations ``[N, stack, 84, 84]``, zero-padded at the start of an episode.

    Preprocessing is that of Mnih et al. 2015 (Methods), and frame by frame that of Gymnasium's ``AtariPreprocessing``
    and zero-padded ``FrameStackObservation``: each action is repeated for ``frame_skip`` frames, the maximum of the
    last two is taken, and resized by area interpolation. Rewards are the game's own, not clipped. As there, the frame
    in which an episode ends is not rendered: its final observation shows the frames before it.

    Every time step has its own arrays, which later steps do not overwrite. ``action_meanings`` names the actions.

    Args:
        game: Gymnasium's name or the ROM id, see `envs.games`.
        num_envs: N.
        life_loss: whether a lost life sets the discount to 0; the episode and its frame stack continue. The last one is
            lost when the game is over: in Atlantis the number of lives may be 0 for a while, and rise again.
        noop_max: an episode starts after a random number of no-ops, uniform in ``0 … noop_max``.
        fire_reset: whether FIRE is pressed at the start, where the game has it; it counts as one of the no-ops.
        sticky_actions: probability, frame by frame, that the emulator repeats its last action (Machado et al. 2018).
        full_action_set: all 18 actions instead of the game's minimal set.
        max_frames: emulator frames after which an episode is truncated, not counting those before its first row.
        frame_skip: emulator frames per step.
        stack: frames in an observation, oldest first.
        num_threads: emulator threads; 0: one per core that the process may use, or per environment if fewer. Results do
            not depend on it.
        seed: of the first `reset` if that is given none, as it takes them; None draws one.
        render_mode: ``"rgb_array"`` for `render`: a second emulator then plays the game of environment 0 in colour.

    Raises:
        ValueError: an unknown game, one whose ROM cannot be read, or a number out of range.
    """

    def __init__(
        self,
        game: str,
        num_envs: int = 1,
        *,
        life_loss: bool = False,
        noop_max: int = 30,
        fire_reset: bool = True,
        sticky_actions: float = 0.0,
        full_action_set: bool = False,
        max_frames: int = 108_000,
        frame_skip: int = 4,
        stack: int = 4,
        num_threads: int = 0,
        seed: int | np.ndarray | None = None,
        render_mode: str | None = None,
    ) -> None:
        _check_numbers(noop_max, sticky_actions, max_frames, frame_skip, stack, num_threads)
        self.num_envs = check_num_envs(num_envs)
        self.life_loss, self.frame_skip, self.stack = life_loss, frame_skip, stack
        self.render_fps = _FRAMES_PER_SECOND / frame_skip
        self._rom = rom_id(game)
        self._seed = np.random.SeedSequence() if seed is None else seed  # of the first reset
        self._options: dict[str, Any] = {
            "noop_max": noop_max + 1,  # ale-py 0.12 draws below its own
            "use_fire_reset": fire_reset,
            "repeat_action_probability": sticky_actions,
            "full_action_space": full_action_set,
            "max_num_frames_per_episode": max_frames,
            "frameskip": frame_skip,
            "reward_clipping": False,
            "autoreset_mode": AutoresetMode.NEXT_STEP,
        }
        threads = num_threads or min(num_envs, usable_cores())  # ale-py's own 0 counts cores that it may not use
        try:
            self._emulators = AtariVectorEnv(self._rom, num_envs, stack_num=stack, num_threads=threads, **self._options)
        except OSError as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"the ROM of {game} cannot be read ({reason}): unset ALE_ROMS_DIR, or install ale-py again"
            ) from error
        self._camera = self._colour_emulator() if _wants_picture(render_mode) else None
        actions = self._emulators.single_action_space
        assert isinstance(actions, Discrete)
        self.num_actions = int(actions.n)
        self.action_meanings = [action.name for action in self._emulators.ale.get_action_set()]
        self.obs_shape = (stack, 84, 84)
        self.obs_dtype = np.dtype(np.uint8)
        self._last: np.ndarray | None = None  # [N]
        self._lives, self._frames = (np.zeros(num_envs, np.int32) for _ in range(2))
        self._left = self._lives  # lives at the last row that had any
        self._picture = np.zeros((*_SCREEN, 3), np.uint8)

    def reset(self, seed: int | np.ndarray | None = None) -> TimeStep:
        chosen = self._seed if seed is None and self._last is None else seed
        seeds = None if chosen is None else environment_seeds(chosen, self.num_envs)
        obs, info = self._emulators.reset(seed=seeds)
        if self._camera is not None:
            self._picture = self._camera.reset(seed=None if seeds is None else seeds[:1])[0][0, 0]
        self._last = np.zeros(self.num_envs, np.bool_)
        self._lives, self._frames = info["lives"], info["episode_frame_number"]
        self._left = self._lives
        return first_rows(obs)

    def restart(self) -> np.ndarray:
        """Start the next episodes at once where the last row was ``last``; the next step makes no ``first`` row then.

        Returns:
            Their first observations there, and elsewhere the observations of the last row, ``[N, stack, 84, 84]``.

        Raises:
            RuntimeError: before the first ``reset()``.
        """
        if self._last is None:
            raise RuntimeError("reset() comes before restart()")
        ended, self._last = self._last, np.zeros(self.num_envs, np.bool_)
        obs, info = self._emulators.reset(options={"reset_mask": ended})
        if self._camera is not None and ended[0]:
            self._picture = self._camera.reset()[0][0, 0]
        self._lives, self._frames = info["lives"], info["episode_frame_number"]
        self._left = np.where(ended, self._lives, self._left)
        return obs

    def step(self, action: np.ndarray) -> TimeStep:
        self.send(action)
        return self.recv()

    def send(self, action: np.ndarray) -> None:
        action = check_action(action, self.num_envs, self.num_actions)  # ale-py 0.12 hangs on one out of range
        if self._last is None:
            raise RuntimeError("reset() comes before the first step()")
        self._emulators.send(action)
        if self._camera is not None:
            self._camera.send(action[:1])

    def recv(self) -> TimeStep:
        assert self._last is not None
        obs, reward, terminated, truncated, info = self._emulators.recv()
        if self._camera is not None:
            self._picture = self._camera.recv()[0][0, 0]
        first, self._last = self._last, terminated | truncated
        self._lives, self._frames = info["lives"], info["episode_frame_number"]
        lost_life = (self._lives > 0) & (self._lives < self._left) & ~first
        self._left = np.where(first | (self._lives > 0), self._lives, self._left)
        end = terminated | lost_life if self.life_loss else terminated
        return TimeStep(obs, reward.astype(np.float64), (~end).astype(np.float32), first, self._last.copy())

    @property
    def lives(self) -> np.ndarray:
        """Lives left at the last row, ``[N]`` int32; 0 in games that have none."""
        return self._lives

    @property
    def episode_frames(self) -> np.ndarray:
        """Emulator frames from the start of each game to the last row, its no-ops included, ``[N]`` int32."""
        return self._frames

    def render(self) -> np.ndarray:
        if self._camera is None:
            raise RuntimeError('nothing to render: make the environment with render_mode="rgb_array"')
        return self._picture

    def close(self) -> None:
        self._emulators.close()
        if self._camera is not None:
            self._camera.close()

    def _colour_emulator(self) -> AtariVectorEnv:
        """An emulator that plays as environment 0, from the same seed and actions, and renders in colour."""
        height, width = _SCREEN
        picture: dict[str, Any] = {"grayscale": False, "img_height": height, "img_width": width, "stack_num": 1}
        return AtariVectorEnv(self._rom, 1, num_threads=1, **picture, **self._options)


def usable_cores() -> int:
    """The cores that this process may use: fewer than the machine's in a job or a container with an affinity."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _wants_picture(render_mode: str | None) -> bool:
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
    return render_mode is not None


def _check_numbers(
    noop_max: int, sticky_actions: float, max_frames: int, frame_skip: int, stack: int, num_threads: int
) -> None:
    least = {
        "noop_max": (noop_max, 0),
        "max_frames": (max_frames, 1),
        "frame_skip": (frame_skip, 1),
        "stack": (stack, 1),
        "num_threads": (num_threads, 0),
    }
    for name, (value, minimum) in least.items():
        if value < minimum:
            raise ValueError(f"{name} must be at least {minimum}, got {value}")
    if not 0 <= sticky_actions <= 1:
        raise ValueError(f"sticky_actions must be a probability, got {sticky_actions}")
