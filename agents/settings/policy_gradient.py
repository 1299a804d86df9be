"""Settings of PPO, A2C and REINFORCE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agents.settings.checks import check_above_zero, check_at_least, check_shares
from agents.settings.learner import LearnerSettings

BatchStatistics = Literal["running", "minibatch"]


@dataclass(frozen=True)
class PolicyGradientSettings:
    """Loss, normalization and evaluation of an actor-critic."""

    value_coef: float = 0.5
    """Coefficient of the value loss."""
    entropy_coef: float = 0.0
    """Coefficient of the entropy bonus; the entropy is in nats."""
    normalize_advantage: bool = True
    """Normalize the advantages of each minibatch (of a whole update in REINFORCE)."""
    normalize_obs: bool = False
    """Normalize observations by their running mean and standard deviation (vectors only)."""
    normalize_return: bool = False
    """Divide rewards by the running standard deviation of the discounted return, instead of --reward-clip."""
    orthogonal: bool = True
    """Orthogonal initialization, with a small gain in the policy's output layer; otherwise torch's default."""
    separate: bool | None = None
    """Separate torsos for policy and value; None: separate for vectors, shared for images or with an LSTM."""
    eval_sample: bool = False
    """Sample actions in evaluation instead of taking the most probable ones."""

    def __post_init__(self) -> None:
        check_at_least(self, 0, "value_coef", "entropy_coef")


@dataclass(frozen=True)
class RolloutSettings:
    """Rollouts and advantages."""

    rollout_length: int = 128
    """Steps of each environment per rollout."""
    gae_lambda: float = 0.95
    """λ of generalized advantage estimation: 0 is the one-step TD error, 1 the Monte Carlo return."""
    batch_statistics: BatchStatistics = "running"
    """--norm batch, mean-batch, batch+projected: running statistics in acting and learning, or the minibatch's."""
    overlap_rollouts: bool = False
    """Play the next rollout while learning from the last. Rollouts are stale then: played without the newest update."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "rollout_length")
        check_shares(self, "gae_lambda")
        if self.overlap_rollouts and self.batch_statistics == "minibatch":
            raise ValueError("overlap_rollouts needs batch_statistics running: leave one of the two out")


_LEARNER = LearnerSettings(optimizer_eps=1e-5, max_grad_norm=0.5)


@dataclass(frozen=True)
class PPOSettings:
    """Proximal policy optimization."""

    epochs: int = 4
    """Passes over each rollout."""
    minibatches: int = 4
    """Minibatches per pass, each one gradient step; with an LSTM, each has whole sequences of some environments."""
    clip_range: float = 0.2
    """Clip range ε of the probability ratio π/π_old."""
    clip_range_schedule: Literal["constant", "linear"] = "constant"
    """linear anneals the clip range to 0 by --schedule-steps."""
    value_clip: float = 0.0
    """Clip range of the values, in units of value; 0: none; clipping (openai/baselines) hurts
    (Andrychowicz et al. 2021)."""
    target_kl: float = 0.0
    """Stop the epochs of a rollout once the approximate KL divergence exceeds 1.5 times this, in nats; 0 never does."""
    lstm: int = 0
    """Width of an LSTM after the torso; 0 for none."""
    rollout: RolloutSettings = RolloutSettings()
    policy_gradient: PolicyGradientSettings = PolicyGradientSettings()
    learner: LearnerSettings = _LEARNER

    def __post_init__(self) -> None:
        check_at_least(self, 1, "epochs", "minibatches")
        check_at_least(self, 0, "value_clip", "target_kl", "lstm")
        check_above_zero(self, "clip_range")
        if self.lstm and self.policy_gradient.separate:
            raise ValueError("separate has no effect with lstm, which policy and value share: leave it out")
        if self.lstm and self.rollout.overlap_rollouts:
            raise ValueError("overlap_rollouts is not for an lstm, whose states acting moves: leave one of the two out")


@dataclass(frozen=True)
class A2CSettings:
    """Advantage actor-critic."""

    rollout: RolloutSettings = RolloutSettings(rollout_length=5, gae_lambda=1.0)
    policy_gradient: PolicyGradientSettings = PolicyGradientSettings(normalize_advantage=False)
    learner: LearnerSettings = _LEARNER


@dataclass(frozen=True)
class REINFORCESettings:
    """REINFORCE with a baseline."""

    episodes_per_update: int = 1
    """Whole episodes of each environment per update; episodes that are unfinished at an update are not learned from."""
    chunk_size: int = 2_048
    """Steps per forward pass; fewer need less memory, the update stays the same (with running batch statistics)."""
    policy_gradient: PolicyGradientSettings = PolicyGradientSettings()
    learner: LearnerSettings = _LEARNER

    def __post_init__(self) -> None:
        check_at_least(self, 1, "episodes_per_update", "chunk_size")
