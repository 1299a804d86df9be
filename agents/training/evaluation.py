"""True scores of a policy over whole games."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.acting.policies import Policy
from envs import Environment, Episode, EpisodeStatistics, TimeStep, human_normalized, rom_id

LONGEST_GAME = 110_000
"""Steps after which a game is taken to be endless; those of Atari end after 108,000 frames."""


@dataclass(frozen=True)
class Scores:
    """True scores of whole games: sums of unclipped rewards."""

    scores: tuple[float, ...]
    """Of each game, in the order in which they ended."""
    lengths: tuple[int, ...]
    """Of each game, in steps."""
    mean: float
    """NaN where there is no game."""
    std: float
    """Standard deviation over games; NaN where there is no game."""
    human_normalized: float | None
    """The mean in units where random play has 0 and a human tester 1; None where the game has no such scores."""
    conditions: str = ""
    """Under which an Atari game was played, in words."""
    overestimation: float | None = None
    """Mean value of a game's first action minus its discounted return, in a run's evaluations of value agents."""

    @classmethod
    def of(cls, games: Sequence[Episode], game: str | None = None, conditions: str = "") -> Scores:
        """The scores of finished games.

        Args:
            games: that ended.
            game: name of the Atari game, if it is one.
            conditions: in words.
        """
        scores, known = [episode.score for episode in games], game is not None and bool(games)
        mean, std = (float(np.mean(scores)), float(np.std(scores))) if games else (float("nan"), float("nan"))
        normalized = human_normalized(rom_id(game), mean) if known and game is not None else None
        return cls(tuple(scores), tuple(episode.length for episode in games), mean, std, normalized, conditions)

    @property
    def mean_length(self) -> float:
        """Mean length of the games in steps; NaN where there is no game."""
        return float(np.mean(self.lengths)) if self.lengths else float("nan")


def evaluate(
    policy: Policy,
    environment: Environment,
    *,
    episodes: int,
    seed: int,
    watch: Callable[[TimeStep], Any] = lambda timestep: None,
    stopped: Callable[[], bool] = lambda: False,
    shown: Callable[[int], Any] = lambda games: None,
    message: Callable[[str], None] = warnings.warn,
) -> list[Episode]:
    """Play whole games and return them in the order in which they ended.

    Each environment plays its fixed share of the games, so that short games are not counted more often than long ones.
    An environment whose game has not ended after `LONGEST_GAME` steps plays no more of its share.

    Args:
        policy: chooses the actions.
        environment: of its own, not the one that the agent learns in.
        episodes: how many games, at least 1.
        seed: of the environments, see `Environment.reset`.
        watch: called with each row, the first one included.
        stopped: asked at each step; the games that have ended by then are returned.
        shown: called after each step with the number of games that have ended.
        message: called with a line of text where a game does not end.

    Raises:
        ValueError: fewer than one game asked for.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    number = environment.num_envs
    left = np.array([episodes // number + (index < episodes % number) for index in range(number)])
    statistics, finished, endless = EpisodeStatistics(number), [], 0
    timestep, length = environment.reset(seed), np.zeros(number, np.int64)
    statistics.update(timestep)
    watch(timestep)
    while left.any() and not stopped():
        timestep = environment.step(policy(timestep))
        watch(timestep)
        for episode in statistics.update(timestep):
            if left[episode.env]:
                left[episode.env] -= 1
                finished.append(episode)
        shown(len(finished))
        length = np.where(timestep.first, 0, length + 1)
        if (length >= LONGEST_GAME).any():
            endless += int(left[length >= LONGEST_GAME].sum())
            left[length >= LONGEST_GAME] = 0
    if endless:
        message(
            f"{endless} of {episodes} games of an evaluation did not end within {LONGEST_GAME:,} steps and are not "
            "counted: give the environment a time limit (gymnasium.wrappers.TimeLimit)"
        )
    return finished


def evaluate_steps(
    policy: Policy,
    environment: Environment,
    *,
    steps: int,
    seed: int,
    stopped: Callable[[], bool] = lambda: False,
    shown: Callable[[int], Any] = lambda steps: None,
) -> list[Episode]:
    """Play for a number of steps and return the games that ended within them (Mnih et al. 2015: 125,000 steps).

    Args:
        policy: chooses the actions.
        environment: of its own, not the one that the agent learns in.
        steps: of all environments together.
        seed: of the environments, see `Environment.reset`.
        stopped: asked at each step; the games that have ended by then are returned.
        shown: called after each step with the number of steps made.
    """
    statistics, finished, played = EpisodeStatistics(environment.num_envs), [], 0
    timestep = environment.reset(seed)
    statistics.update(timestep)
    while played < steps and not stopped():
        timestep = environment.step(policy(timestep))
        played += int((~timestep.first).sum())
        finished += statistics.update(timestep)
        shown(played)
    return finished
