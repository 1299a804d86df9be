"""Looks on while a policy plays: each row of environment 0 goes to a screen, with the action that is taken in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from agents.acting.policies import Policy
from agents.watching.action_values import ActionValues, action_values
from agents.watching.bars import Bars
from agents.watching.picture import Rendering, Size, fitted, picture_of
from envs import TimeStep


class Screen(Protocol):
    """Where pictures go: a window, or a video."""

    def show(self, picture: Callable[[], np.ndarray], text: str) -> None:
        """Show the next picture.

        Args:
            picture: makes it, `[H, W, 3]` uint8; a screen that has no time for it does not ask for it.
            text: on it, a few words.
        """


class Spectator:
    """Shows the games of environment 0 on a screen.

        spectator = Spectator(environment, screen, values=True)
        policy = spectator.watching(make_policy(network, rng, seen=spectator.see))
        evaluate(policy, environment, episodes=1, seed=0, watch=spectator.watch)

    Args:
        environment: renders its pictures.
        screen: shows them.
        values: whether the network's outputs are drawn beside them; the policy then has to give them to `see`.
        size: bounds of the environment's picture.
        games: how many are shown, of those that are played; None: all.

    Raises:
        ValueError: what draws the values is not installed.
    """

    def __init__(
        self,
        environment: Rendering,
        screen: Screen,
        *,
        values: bool = False,
        size: Size = Size(),  # noqa: B008 - a tuple
        games: int | None = None,
    ) -> None:
        self._environment, self._screen, self._size, self._games = environment, screen, size, games
        self._bars = Bars(getattr(environment, "action_meanings", ())) if values else None
        self._seen: ActionValues | None = None
        self._game, self._score = 1, float("nan")  # NaN where `watch` is not called

    def see(self, outputs: Any) -> None:
        """Take the network's outputs for a row, before the action of it is shown."""
        if self._bars is not None and self._shows:
            self._seen = action_values(outputs)

    def watching(self, policy: Policy) -> Policy:
        """The policy, each of whose rows is shown before its action is made."""

        def act(timestep: TimeStep) -> np.ndarray:
            action = policy(timestep)
            if not timestep.last[0]:
                self.show(int(action[0]) if action.ndim == 1 else None)
            return action

        return act

    def watch(self, timestep: TimeStep) -> None:
        """Count the score of a row; the last one of a game, in which nothing is done any more, is shown at once."""
        self._score = 0.0 if timestep.first[0] else self._score + float(timestep.reward[0])
        if timestep.last[0]:
            self.show(None)
            self.end_game()

    def show(self, action: int | None = None) -> None:
        """Show the present picture, with the action that is taken in it.

        Raises:
            ValueError: the environment cannot render.
        """
        if self._shows:
            score = "" if math.isnan(self._score) else f", score {self._score:g}"
            self._screen.show(lambda: self._picture(action), f"game {self._game}{score}")

    def end_game(self) -> None:
        """The next picture is of another game."""
        self._game += 1

    @property
    def _shows(self) -> bool:
        return self._games is None or self._game <= self._games

    def _picture(self, action: int | None) -> np.ndarray:
        picture = fitted(picture_of(self._environment), self._size)
        if self._bars is None or self._seen is None:
            return picture
        return np.concatenate([picture, self._bars.draw(self._seen, action, len(picture))], axis=1)
