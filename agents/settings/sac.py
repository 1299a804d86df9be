"""Settings of discrete SAC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from agents.settings.checks import check_above_zero, check_at_least, check_shares, check_used
from agents.settings.learner import LearnerSettings
from agents.settings.replay import ReplaySettings

Critic = Literal["min", "mean"]


@dataclass(frozen=True)
class SACSettings:
    """Discrete soft actor-critic."""

    temperature: Annotated[float | Literal["auto"], tyro.conf.arg(metavar="{auto}|FLOAT")] = "auto"
    """Entropy coefficient α, in units of a return per nat (after reward clipping); auto learns it."""
    temperature_start: float = 1.0
    """Initial entropy coefficient of --temperature auto."""
    target_entropy: float = 0.98
    """Target entropy of --temperature auto, as a share of the entropy of a uniformly random policy."""
    critic: Critic = "min"
    """How policy and targets combine the critics' values of an action."""
    eval_sample: bool = False
    """Sample actions in evaluation instead of taking the most probable ones."""
    replay: ReplaySettings = ReplaySettings(batch_size=64, learning_starts=20_000, target_interval=8_000)
    learner: LearnerSettings = LearnerSettings(max_grad_norm=0.0)

    def __post_init__(self) -> None:
        check_above_zero(self, "temperature_start")
        check_shares(self, "target_entropy")
        automatic = self.temperature == "auto"
        if not automatic:
            check_at_least(self, 0, "temperature")
        check_used(self, automatic, "temperature auto", "temperature_start", "target_entropy")
