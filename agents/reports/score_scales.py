"""What scores are measured against: human players on Atari, or ranges, so that environments can be averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from agents.reports.run import Numbers

HUMAN, GIVEN, RELATIVE = "human-normalized", "of the given range", "of the range of all runs here"


class Scale(NamedTuple):
    """A score of `low` counts as 0, of `high` as 1."""

    low: float
    high: float
    source: str

    def __call__(self, scores: Numbers) -> Numbers:
        """The scores on this scale."""
        return (scores - self.low) / (self.high - self.low)


def scale_of(
    env: str, finals: Sequence[Numbers], given: Mapping[str, tuple[float, float]], *, returns: bool = True
) -> Scale:
    """The scale of an environment: the given one, else that of random play and humans, else the range of all runs.

    Args:
        env: its name.
        finals: the final scores of each curve in it.
        given: (low, high) by environment.
        returns: whether the scores are returns; what humans reach says nothing of another metric.
    """
    if env in given:
        return Scale(*given[env], GIVEN)
    if returns and (human := human_scale(env)) is not None:
        return human
    scores = np.concatenate(finals)
    low, high = float(scores.min()), float(scores.max())
    return Scale(low, high if high > low else low + 1, RELATIVE)


def human_scale(env: str) -> Scale | None:
    """From random play to a human player, of an Atari game that has been measured; None for anything else."""
    from envs.scores import SCORES  # brings the emulator

    found = SCORES.get(_rom(env))
    return None if found is None else Scale(*found, HUMAN)


def _rom(env: str) -> str:
    from envs.games import rom_id

    try:
        return rom_id(env) if env.isidentifier() else ""
    except ValueError:
        return ""


def default_threshold(env: str) -> tuple[float, str] | None:
    """The score at which an environment counts as solved, and whose measure that is; None where there is none.

    A human's score on Atari, Gymnasium's reward threshold elsewhere. Nothing is imported for the sake of an id.
    """
    if (human := human_scale(env)) is not None:
        return human.high, "human score"
    import gymnasium

    spec = gymnasium.registry.get(env)
    return None if spec is None or spec.reward_threshold is None else (float(spec.reward_threshold), "Gymnasium's")
