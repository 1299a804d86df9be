"""A small task that needs memory, with a known optimum with and without it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from envs.generators import pack_generator, unpack_generator
from envs.stream import Environment, TimeStep, check_action, check_num_envs, first_rows


class Recall(Environment):
    """A cue is shown once, and has to be named ``delay`` steps later: reward 1 if right and 0 if not, then the end.

    An observation is ``[cues + 1]`` float32: the cue, one-hot, and whether it is asked for. By row ``t`` of an episode:

    =================  =======  =====  ==================================================
    ``t``              cue      asked  action
    =================  =======  =====  ==================================================
    0                  one-hot  0      makes no difference
    1 … ``delay - 1``  zeros    0      makes no difference
    ``delay``          zeros    1      names the cue
    ``delay + 1``      zeros    0      ignored: the row is terminal, and has the reward
    =================  =======  =====  ==================================================

    A policy that sees the present observation only answers at best with a fixed cue: its mean score is
    ``1 / cues``. One that remembers the first row scores 1. Every environment draws its cues, uniformly, from a
    generator of its own.

    Args:
        num_envs: N.
        delay: steps from the cue to the question, at least 1.
        cues: number of cues and of actions, at least 2.
        render_mode: None, the only one; there is no picture.

    Raises:
        ValueError: on a number outside its range, or a `render_mode`.
    """

    resumable: ClassVar[bool] = True

    def __init__(self, num_envs: int = 1, *, delay: int = 8, cues: int = 2, render_mode: str | None = None) -> None:
        if render_mode is not None:
            raise ValueError(f"Recall has no picture to render, got {render_mode=}")
        if delay < 1 or cues < 2:
            raise ValueError(f"needs delay >= 1 and cues >= 2, got {delay=} and {cues=}")
        self.num_envs = check_num_envs(num_envs)
        self.num_actions = cues
        self.obs_shape = (cues + 1,)
        self.obs_dtype = np.dtype(np.float32)
        self.delay, self.cues = delay, cues
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self._cue = np.zeros(num_envs, np.int64)
        self._elapsed = np.zeros(num_envs, np.int64)  # steps in the episode
        self._last: np.ndarray | None = None

    def reset(self, seed: int | None = None) -> TimeStep:
        if seed is not None:
            self._rngs = [np.random.default_rng(seed + i) for i in range(self.num_envs)]
        self._last = np.zeros(self.num_envs, np.bool_)
        self._start(~self._last)
        return first_rows(self._obs())

    def step(self, action: np.ndarray) -> TimeStep:
        action = check_action(action, self.num_envs, self.num_actions)
        if self._last is None:
            raise RuntimeError("reset() comes before the first step()")
        first = self._last
        self._elapsed += 1
        self._start(first)
        self._last = self._elapsed > self.delay
        reward = (self._last & (action == self._cue)).astype(np.float32)
        return TimeStep(self._obs(), reward, (~self._last).astype(np.float32), first.copy(), self._last.copy())

    def optimal_values(self, gamma: float, *, memory: bool = True) -> np.ndarray:
        """The value of each row of an episode under the best policy: ``[delay + 2]`` float64.

        ``gamma ** (delay - t)`` for row ``t``, and 0 for the terminal one. Without memory, under the best policy that
        sees the present observation only, ``1 / cues`` of that, in the mean over the cues.

        Args:
            gamma: discount.
            memory: whether the policy remembers the cue.
        """
        values = np.zeros(self.delay + 2)
        values[:-1] = np.float64(gamma) ** np.arange(self.delay, -1, -1)
        return values if memory else values / self.cues

    def get_state(self) -> dict[str, np.ndarray]:
        last = np.array([], np.bool_) if self._last is None else self._last.copy()
        return {
            "cue": self._cue.copy(),
            "elapsed": self._elapsed.copy(),
            "last": last,  # empty before the first reset
            "rngs": np.stack([pack_generator(rng) for rng in self._rngs]),  # [N, 6]
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        if state["cue"].shape != (self.num_envs,):
            raise ValueError(f"state of {len(state['cue'])} environments, this Recall has {self.num_envs}")
        self._cue = state["cue"].copy()
        self._elapsed = state["elapsed"].copy()
        self._last = state["last"].copy() if len(state["last"]) else None
        self._rngs = [unpack_generator(words) for words in state["rngs"]]

    def _start(self, first: np.ndarray) -> None:
        """Begin an episode with a new cue in the environments where ``first`` ``[N]``."""
        self._elapsed[first] = 0
        for i in np.flatnonzero(first).tolist():
            self._cue[i] = self._rngs[i].integers(self.cues)

    def _obs(self) -> np.ndarray:
        obs = np.zeros((self.num_envs, self.cues + 1), np.float32)
        first = np.flatnonzero(self._elapsed == 0)
        obs[first, self._cue[first]] = 1
        obs[:, -1] = self._elapsed == self.delay
        return obs
