"""Settings of PQN."""

from __future__ import annotations

from dataclasses import dataclass

from agents.settings.checks import check_above_zero, check_at_least, check_shares
from agents.settings.exploration import ExplorationSettings
from agents.settings.learner import LearnerSettings


@dataclass(frozen=True)
class PQNSettings:
    """PQN: parallel Q-learning."""

    rollout_length: int = 32
    """Steps of each environment per rollout."""
    q_lambda: float = 0.65
    """λ of the λ-returns: 0 bootstraps after one step, 1 at the end of the rollout."""
    epochs: int = 2
    """Passes over each rollout."""
    minibatches: int = 32
    """Minibatches per pass, each one gradient step."""
    reward_scale: float = 1.0
    """Factor on the (clipped) rewards for learning; reported scores are not scaled."""
    overlap_rollouts: bool = False
    """Play the next rollout while learning from the last. Rollouts are stale then: played without the newest update."""
    exploration: ExplorationSettings = ExplorationSettings()
    learner: LearnerSettings = LearnerSettings(learning_rate=2.5e-4, learning_rate_schedule="linear", optimizer="radam")

    def __post_init__(self) -> None:
        check_at_least(self, 1, "rollout_length", "epochs", "minibatches")
        check_shares(self, "q_lambda")
        check_above_zero(self, "reward_scale")
