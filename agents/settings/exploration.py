"""ε-greedy exploration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agents.settings.checks import check_at_least, check_shares


@dataclass(frozen=True)
class ExplorationSettings:
    """ε-greedy exploration."""

    epsilon_start: float = 1.0
    """Initial exploration rate ε."""
    epsilon_end: float = 0.05
    """Final exploration rate ε."""
    epsilon_steps: int = 100_000
    """Steps over which ε is annealed, from the start of learning; train_pqn.py's default is a share of --steps."""
    epsilon_schedule: Literal["linear", "exponential"] = "linear"
    """exponential: the distance to the final ε falls by a factor of e every --epsilon-steps (BTR)."""
    epsilon_off: int = 0
    """Step from which on ε is 0; 0 leaves it at its final value."""
    eval_epsilon: float = 0.05
    """Exploration rate ε in evaluation."""

    def __post_init__(self) -> None:
        check_shares(self, "epsilon_start", "epsilon_end", "eval_epsilon")
        check_at_least(self, 0, "epsilon_steps", "epsilon_off")
