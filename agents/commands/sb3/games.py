"""Whole games of a policy of stable-baselines3."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from stable_baselines3.common import evaluation
from stable_baselines3.common.type_aliases import PolicyPredictor
from stable_baselines3.common.vec_env import VecEnv

from agents.acting.exploration import with_random
from wnrl.sb3.randomness import same_randomness


class Games(NamedTuple):
    """True scores and lengths, in the order in which the games ended."""

    scores: list[float]
    lengths: list[int]  # as the environments count them: a game's in frames


class _StopAskedError(Exception):
    """A stop was asked for."""


def play_games(
    policy: PolicyPredictor,
    environment: VecEnv,
    episodes: int,
    *,
    stopped: Callable[[], bool] = lambda: False,
    watch: Callable[[], Any] = lambda: None,
    ended: Callable[[], Any] = lambda: None,
    epsilon: float = 0.0,
    seed: int = 0,
) -> Games | None:
    """Play whole games with the most probable actions, by the library's `evaluate_policy`.

    Each environment plays its fixed share of them. If the environments mask actions and the policy takes masks, it gets
    them. The global random generators keep their states.

    Args:
        policy: a model of the library, or its policy.
        environment: its `infos` have an `episode` at the end of a game, as a `Monitor` gives them.
        episodes: how many games, at least 1.
        stopped: asked before each step.
        watch: called before each step.
        ended: called at the end of each game of environment 0.
        epsilon: probability of a random action.
        seed: of random actions.

    Returns:
        The games, or None if a stop was asked for.

    Raises:
        ValueError: `epsilon` where actions are not discrete, or masked.
    """
    check_epsilon(policy, environment, epsilon)
    masks = _are_masked(policy, environment)
    player = _Player(policy, stopped, watch, ended, epsilon, np.random.default_rng(seed))
    library: Any = importlib.import_module("sb3_contrib.common.maskable.evaluation") if masks else evaluation
    try:
        with same_randomness():
            played = library.evaluate_policy(
                player, environment, episodes, callback=player.see, return_episode_rewards=True, warn=False
            )
    except _StopAskedError:
        return None
    return Games(*played)


def check_epsilon(policy: PolicyPredictor, environment: VecEnv, epsilon: float) -> None:
    """Raise ValueError for random actions where actions are not discrete, or masked."""
    if epsilon and (_are_masked(policy, environment) or not isinstance(environment.action_space, spaces.Discrete)):
        raise ValueError("epsilon needs discrete actions without masks: leave it out, or set it to 0")


def _are_masked(policy: PolicyPredictor, environment: VecEnv) -> bool:
    return takes_masks(policy) and environment.has_attr("action_masks")


def takes_masks(policy: object) -> bool:
    """Whether it is an algorithm or a policy that masks actions, those of MaskablePPO."""
    return any("maskable" in kind.__module__ or kind.__name__ == "MaskablePPO" for kind in type(policy).__mro__)


class _Player:
    """Stands for a policy in `evaluate_policy`, which has no other place to look on from before a step."""

    def __init__(
        self,
        policy: Any,
        stopped: Callable[[], bool],
        watch: Callable[[], Any],
        ended: Callable[[], Any],
        epsilon: float,
        rng: np.random.Generator,
    ) -> None:
        self._policy, self._stopped, self._watch, self._ended = policy, stopped, watch, ended
        self._epsilon, self._rng = epsilon, rng

    def predict(self, observation: Any, **options: Any) -> tuple[np.ndarray, Any]:
        if self._stopped():
            raise _StopAskedError
        self._watch()
        actions, states = self._policy.predict(observation, **options)
        if self._epsilon:
            actions = with_random(actions, int(self._policy.action_space.n), self._epsilon, self._rng)
        return actions, states

    def see(self, names: dict[str, Any], _: dict[str, Any]) -> None:
        """Called by `evaluate_policy` for each environment after a step, with its local names."""
        if names["i"] == 0 and "episode" in names["info"]:
            self._ended()
