"""A small task that needs memory, with known optimal values with and without memory."""

from __future__ import annotations

import numpy as np

from envs.generators import pack_generator, unpack_generator
from envs.toy_environment import ToyEnvironment


class Recall(ToyEnvironment):
    """A cue is shown once and has to be named ``delay`` steps later, with reward 1 if right and 0 if wrong.

    An observation is ``[cues + 1]`` float32: the cue, one-hot, and whether it has to be named. Row ``t`` of an episode:

    =================  =======  =====  ==================================================
    ``t``              cue      asked  action
    =================  =======  =====  ==================================================
    0                  one-hot  0      makes no difference
    1 … ``delay - 1``  zeros    0      makes no difference
    ``delay``          zeros    1      names the cue
    ``delay + 1``      zeros    0      ignored: the row is terminal, and has the reward
    =================  =======  =====  ==================================================

    A policy without memory, which sees only the present observation, can at best always name the same cue: its mean
    score is ``1 / cues``. One that remembers the first row scores 1. Each environment draws its cues uniformly from a
    generator of its own.

    Args:
        num_envs: N.
        delay: steps from the cue to the question, at least 1.
        cues: number of cues and of actions, at least 2.
        render_mode: only None; there is no picture.

    Raises:
        ValueError: a number out of range, or a ``render_mode``.
    """

    def __init__(self, num_envs: int = 1, *, delay: int = 8, cues: int = 2, render_mode: str | None = None) -> None:
        super().__init__(num_envs, num_actions=cues, obs_size=cues + 1, render_mode=render_mode)
        if delay < 1 or cues < 2:
            raise ValueError(f"needs delay >= 1 and cues >= 2, got {delay=} and {cues=}")
        self.delay, self.cues = delay, cues
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self._cue = np.zeros(num_envs, np.int64)

    def optimal_values(self, gamma: float, *, memory: bool = True) -> np.ndarray:
        """The value of each row of an episode under the optimal policy: ``[delay + 2]`` float64.

        ``gamma ** (delay - t)`` for row ``t``, and 0 for the terminal one. For the best policy without memory it is
        ``1 / cues`` of that, averaged over the cues.

        Args:
            gamma: discount.
            memory: whether the policy remembers the cue.
        """
        values = np.zeros(self.delay + 2)
        values[:-1] = np.float64(gamma) ** np.arange(self.delay, -1, -1)
        return values if memory else values / self.cues

    def get_state(self) -> dict[str, np.ndarray]:
        rngs = np.stack([pack_generator(rng) for rng in self._rngs])  # [N, 6]
        return {"cue": self._cue.copy(), **super().get_state(), "rngs": rngs}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        super().set_state(state)
        self._cue = state["cue"].copy()
        self._rngs = [unpack_generator(words) for words in state["rngs"]]

    def _limits(self) -> dict[str, int]:
        return {"cue": self.cues}

    def _seed(self, seeds: np.ndarray) -> None:
        self._rngs = [np.random.default_rng(seed) for seed in seeds.tolist()]

    def _start(self, first: np.ndarray) -> None:
        for i in np.flatnonzero(first).tolist():
            self._cue[i] = self._rngs[i].integers(self.cues)

    def _advance(self, action: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self._start(first)
        end = self._elapsed > self.delay
        return (end & (action == self._cue)).astype(np.float64), end, end

    def _obs(self) -> np.ndarray:
        obs = np.zeros((self.num_envs, self.cues + 1), np.float32)
        first = np.flatnonzero(self._elapsed == 0)
        obs[first, self._cue[first]] = 1
        obs[:, -1] = self._elapsed == self.delay
        return obs
