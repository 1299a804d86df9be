"""The values of a value agent against the discounted returns of the games that it plays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from agents.acting.policies import Policy
from envs import Episode, TimeStep
from wnrl.device import to_device


class ValuedPolicy:
    """A policy that keeps the value of each game's first action, and the return that followed.

    A game's return is discounted as the values are, of rewards as the agent learns from them; where the game is
    truncated, the network's greatest value of its last observation takes the place of what would have followed, as in
    targets.

    Args:
        policy: chooses the actions.
        network: a Q network in evaluation mode, which the policy follows.
        gamma: discount of one step.
        reward: from a row to the rewards `[N]` that the agent would learn from.
        autocast: a context for the network's forward pass.
    """

    def __init__(
        self,
        policy: Policy,
        network: nn.Module,
        gamma: float,
        reward: Callable[[TimeStep], np.ndarray],
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._policy, self._network, self._gamma, self._reward = policy, network, gamma, reward
        self._autocast = autocast
        self._device = next(network.parameters()).device
        self._value = self._return = self._discount = np.zeros(0)  # [N], of the games that are played now
        self.games: dict[int, list[tuple[float, float]]] = {}
        """By environment, the value and the return of each game that has ended, in their order."""

    def __call__(self, timestep: TimeStep) -> np.ndarray:
        """The actions at a row, which `watch` has seen."""
        action = self._policy(timestep)
        if timestep.first.any():
            taken = self._q_values(timestep)[np.arange(len(action)), action]
            self._value = np.where(timestep.first, taken, self._value)
        return action

    def watch(self, timestep: TimeStep) -> None:
        """Add a row's rewards to the returns."""
        if not len(self._value):
            self._value = self._return = self._discount = np.zeros(len(timestep.first))
        self._return = np.where(timestep.first, 0.0, self._return + self._discount * self._reward(timestep))
        self._discount = np.where(timestep.first, 1.0, self._discount * self._gamma * timestep.discount)
        if not timestep.last.any():
            return
        truncated = timestep.last & (self._discount > 0)
        rest = self._discount * self._q_values(timestep).max(1) if truncated.any() else np.zeros(len(truncated))
        for env in np.flatnonzero(timestep.last).tolist():
            game = (float(self._value[env]), float(self._return[env] + rest[env]))
            self.games.setdefault(env, []).append(game)

    def overestimation(self, games: Sequence[Episode]) -> float | None:
        """The mean over games of value minus return (van Hasselt et al. 2016, section 4); None where there is no game.

        Args:
            games: that count, as `evaluate` returns them: each environment's first ones.
        """
        counted = Counter(game.env for game in games)
        pairs = [pair for env, number in counted.items() for pair in self.games.get(env, [])[:number]]
        return float(np.mean([value - following for value, following in pairs])) if pairs else None

    @torch.no_grad()
    def _q_values(self, timestep: TimeStep) -> np.ndarray:
        """`[N, A]` of a row."""
        with self._autocast():
            outputs: Any = self._network(to_device(timestep.obs, self._device))
        return outputs.q_values.cpu().numpy()
