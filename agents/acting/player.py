"""A policy for the observations of any environment, which keeps a recurrent network's state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from agents.acting.policies import Policy
from envs.stream import TimeStep


class Player:
    """Acts for one environment, or for N in lockstep, from game to game.

        player = agent.player()
        action = player(obs)          # each call is the next step
        player.reset()                # a new game begins

    Args:
        make_policy: returns a policy without state of earlier rows.
        rows: from an observation, or N of them, to rows `[N, *obs_shape]` and whether it was a single one.
        actions: from the policy's actions to the environment's.
    """

    def __init__(
        self,
        make_policy: Callable[[], Policy],
        rows: Callable[[Any], tuple[np.ndarray, bool]],
        actions: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        self._make_policy, self._rows, self._actions = make_policy, rows, actions
        self.reset()

    def reset(self) -> None:
        """Begin new games in all environments."""
        self._policy, self._number = self._make_policy(), 0

    def __call__(self, obs: Any, first: Sequence[bool] | None = None) -> Any:
        """The action for an observation, or N of them, as the environment takes it.

        Args:
            obs: one observation, or one of each of N environments; each call is the next step of the same ones.
            first: `[N]`, where a new game begins with this observation; by default in the first call alone.

        Raises:
            ValueError: the number of environments changes without a `reset`, or the shape is another one.
        """
        rows, single = self._rows(obs)
        if self._number not in (0, len(rows)):
            raise ValueError(f"the player is of {self._number} environments, got {len(rows)}: reset() it first")
        begins = np.full(len(rows), self._number == 0) if first is None else np.asarray(first, np.bool_)
        if begins.shape != (len(rows),):
            raise ValueError(f"first must have one value for each of {len(rows)} environments, got {begins.shape}")
        self._number = len(rows)
        action = self._actions(self._policy(act_on(rows, begins)))
        return action[0] if single else action


def act_on(obs: np.ndarray, first: np.ndarray) -> TimeStep:
    """A row to act on, of observations `[N, *obs_shape]`, with no reward."""
    number = len(obs)
    return TimeStep(obs, np.zeros(number), np.ones(number, np.float32), first, np.zeros(number, np.bool_))
