"""The replay buffer, what is sampled from it, and the target network."""

from __future__ import annotations

from dataclasses import dataclass

from agents.settings.checks import check_above_zero, check_at_least, check_shares, check_used


@dataclass(frozen=True)
class ReplaySettings:
    """Replay buffer, updates and target network."""

    batch_size: int = 32
    """Transitions per update."""
    train_interval: int = 4
    """Steps per update, for any number of environments."""
    learning_starts: int = 8_000
    """Warm-up: steps of uniformly random play before the first update."""
    replay_size: int = 100_000
    """Capacity of the replay buffer in steps."""
    n_step: int = 1
    """Steps of reward before the bootstrap."""
    prioritized: bool = False
    """Prioritized replay: sample transitions by their last loss."""
    priority_exponent: float = 0.5
    """Exponent α of the priorities: 0 samples uniformly, 1 in proportion to the loss."""
    priority_beta: float = 0.4
    """Initial importance-sampling exponent β, annealed to 1 by --schedule-steps."""
    target_interval: int = 1_000
    """Steps between two updates of the target network."""
    tau: float = 1.0
    """Soft update coefficient τ of the target network; 1 copies."""
    init_batch: int = 500
    """Observations for --init data."""
    overlap: bool = True
    """Update while the environments compute their next step; the results are bit-identical."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "batch_size", "train_interval", "replay_size", "n_step", "target_interval")
        check_at_least(self, 1, "init_batch")
        check_at_least(self, 0, "learning_starts")
        check_shares(self, "tau", "priority_exponent", "priority_beta")
        check_above_zero(self, "tau")
        check_used(self, self.prioritized, "prioritized", "priority_exponent", "priority_beta")

    def check_start(self, num_envs: int) -> None:
        """Raise ValueError where the first update is due before each environment has made `n_step` steps.

        And where the buffer would hold nothing while all environments are reset, which takes each a row.
        """
        if self.replay_size <= num_envs:
            raise ValueError(f"replay_size must be above num_envs, {num_envs}, got {self.replay_size}")
        least = self.n_step * num_envs - self.train_interval + 1
        if self.learning_starts < least:
            raise ValueError(
                f"learning_starts must be at least {least} for {num_envs} environments and transitions of "
                f"{self.n_step} steps, got {self.learning_starts}"
            )
