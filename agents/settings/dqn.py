"""Settings of the DQN family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agents.settings.checks import check_above_zero, check_at_least, check_shares, check_used
from agents.settings.exploration import ExplorationSettings
from agents.settings.learner import LearnerSettings
from agents.settings.replay import ReplaySettings

Distribution = Literal["none", "categorical", "quantile", "implicit"]  # as in wnrl, which imports torch


@dataclass(frozen=True)
class DQNSettings:
    """The DQN family: its variants, in any meaningful combination."""

    double: bool = False
    """Double Q-learning: the learner selects the next action, the target network evaluates it."""
    dueling: bool = False
    """Dueling architecture: separate streams for the state value and the advantages."""
    dueling_gradient_scale: float = 1.0
    """Factor on the gradient that enters the torso from both streams; Wang et al. 2016 take 1/√2."""
    shared_bias: bool = False
    """One bias for all action values, as in tuned Double DQN (van Hasselt et al. 2016)."""
    noisy: bool = False
    """Noisy networks: explore by learned noise on the fully connected layers instead of ε-greedy."""
    distribution: Distribution = "none"
    """Distributional Q-learning: none (expected return), categorical (C51), quantile (QR-DQN) or implicit (IQN). Preset
    fast then has its paper's n-step and double, on Atari its step size too; its paper's other values: presets c51,
    qr-dqn, iqn."""
    atoms: int = 51
    """Atoms of --distribution categorical."""
    v_min: float = -10.0
    """Smallest atom, as a return (after reward clipping)."""
    v_max: float = 10.0
    """Largest atom, as a return (after reward clipping)."""
    quantiles: int = 200
    """Quantiles of --distribution quantile."""
    acting_taus: int = 32
    """Quantile levels averaged for acting with --distribution implicit: the middles of equal intervals."""
    taus: int = 64
    """Quantile levels sampled for the learner per update with --distribution implicit."""
    target_taus: int = 64
    """Quantile levels sampled for the target network per update with --distribution implicit."""
    policy_taus: int = 32
    """Quantile levels sampled for the policy in the targets of --distribution implicit; 0: those that value it, but
    with --double, and in the bonus of --munchausen, the fixed ones of acting."""
    munchausen: bool = False
    """Munchausen DQN: add the scaled log-policy to the reward and bootstrap from the softmax policy. Preset fast then
    has its paper's n-step, on Atari its step size too; its paper's other values: presets munchausen, m-iqn."""
    munchausen_alpha: float = 0.9
    """Munchausen scaling factor α of the log-policy."""
    munchausen_temperature: float = 0.03
    """Temperature of the softmax policy, in units of a return."""
    munchausen_low: float = -1.0
    """Lower clipping bound of temperature × log-policy, in units of a return."""
    huber_delta: float = 1.0
    """TD error at which the Huber loss turns from quadratic to linear, in units of a return."""
    loss_reduction: Literal["mean", "sum"] = "mean"
    """Reduction of the losses of a batch."""
    replay: ReplaySettings = ReplaySettings()
    exploration: ExplorationSettings = ExplorationSettings()
    learner: LearnerSettings = LearnerSettings()

    def __post_init__(self) -> None:
        check_at_least(self, 1, "quantiles", "acting_taus", "taus", "target_taus")
        check_at_least(self, 2, "atoms")
        check_at_least(self, 0, "policy_taus")
        check_above_zero(self, "huber_delta", "munchausen_temperature", "dueling_gradient_scale")
        check_shares(self, "munchausen_alpha")
        if self.v_min >= self.v_max:
            raise ValueError(f"v_min must be under v_max, got {self.v_min} and {self.v_max}")
        if self.munchausen_low > 0:
            raise ValueError(f"munchausen_low must not be above 0, got {self.munchausen_low}")
        self._check_combination()

    def _check_combination(self) -> None:
        kind = self.distribution
        check_used(self, kind == "categorical", "distribution categorical", "atoms", "v_min", "v_max")
        check_used(self, kind == "quantile", "distribution quantile", "quantiles")
        check_used(self, kind == "implicit", "distribution implicit", "acting_taus", "taus", "target_taus")
        check_used(self, self.dueling, "dueling", "dueling_gradient_scale")
        if self.policy_taus:
            check_used(self, kind == "implicit", "distribution implicit", "policy_taus")
        plain = kind == "none" and not self.dueling and not self.noisy
        check_used(self, plain, "a plain output layer (no distribution, dueling or noisy)", "shared_bias")
        check_used(self, kind != "categorical", "a Huber loss (distribution categorical has none)", "huber_delta")
        munchausen = ("munchausen_alpha", "munchausen_temperature", "munchausen_low")
        check_used(self, self.munchausen, "munchausen", *munchausen)
        if self.munchausen and self.double:
            raise ValueError("double does not combine with munchausen, which values a softmax policy: --no-double")
        explore = self.exploration
        if self.noisy and max(explore.epsilon_start, explore.epsilon_end) > 0 and not explore.epsilon_off:
            raise ValueError(
                "noisy networks explore by themselves: leave epsilon_start and epsilon_end out, or at 0, or end random "
                "actions by epsilon_off"
            )
