"""Proximal policy optimization (Schulman et al. 2017): epochs on each rollout, kept near the policy that acted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from agents.on_policy.rollout import Rollout
from agents.policy_gradient.actor_critic_loss import proximal
from agents.policy_gradient.actors import Minibatch
from agents.policy_gradient.policy_gradient import PolicyGradient, RolloutSettings
from agents.settings.run import check_above_zero, check_at_least
from envs import TimeStep
from wnrl.schedules import Linear


@dataclass(frozen=True)
class PPOSettings(RolloutSettings):
    """The numbers of a PPO agent."""

    epochs: int = 4
    """Passes over each rollout."""
    minibatches: int = 4
    """Gradient steps per pass; with an LSTM each takes whole sequences of some environments."""
    clip_range: float = 0.2
    """How far the ratio of an action's probabilities, now and then, may move from 1 with profit."""
    clip_range_schedule: Literal["constant", "linear"] = "constant"
    """Linear lets the clip range fall to 0 at the end of the run."""
    value_clip: float = 0.0
    """How far a value may move from what it was in the rollout, in units of value; 0 does not limit it."""
    target_kl: float = 0.0
    """Leave a rollout once the policy's approximate KL divergence (nats) is over 1.5 times this; 0 never does."""
    lstm: int = 0
    """Width of an LSTM after the torso, for tasks that need memory; 0 for none."""

    def check(self) -> None:
        """Refuse values out of range."""
        check_at_least(self, 1, "epochs", "minibatches")
        check_at_least(self, 0, "value_clip", "target_kl", "lstm")
        check_above_zero(self, "clip_range")
        if self.lstm and self.separate:
            raise ValueError("separate has no meaning with lstm, which policy and value share: leave it out")


class PPO(PolicyGradient):
    """A PPO agent, see `PolicyGradient`.

    Args:
        clip_range: by environment step.
        parts: arguments of `PolicyGradient`.
    """

    def __init__(self, *, clip_range: Linear, **parts: Any) -> None:
        super().__init__(**parts)
        self._clip_range = clip_range
        self._clip = torch.zeros((), device=self.learner.device)  # of the update under way

    def update(self, rollout: Rollout, timestep: TimeStep, step: int) -> None:
        """Epochs of gradient steps on shuffled minibatches of the rollout, until it is left early."""
        self._clip.fill_(self._clip_range(step))
        batches = self._epochs(self._steps(rollout, timestep))
        if self.settings.target_kl:
            self._until_far(batches)
        else:
            for batch in batches:
                self._learn_from(batch)

    def _until_far(self, batches: Iterator[Minibatch]) -> None:
        """Gradient steps while the policy is near the one that acted; that is asked of the device at each."""
        for batch in batches:
            loss, figures = self._loss(batch)
            if float(figures["train/approx_kl"]) > 1.5 * self.settings.target_kl:
                return
            self.learner.minimize(loss, figures)

    def _loss(self, batch: Minibatch) -> tuple[Tensor, dict[str, Tensor]]:
        settings, outputs = self.settings, self._outputs(batch)
        return proximal(outputs, batch, self._weights, settings.normalize_advantage, self._clip, settings.value_clip)

    def _epochs(self, steps: Minibatch) -> Iterator[Minibatch]:
        for _ in range(self.settings.epochs):
            yield from self.actor.minibatches(steps, self.settings.minibatches, self._generator)

    def figures(self, step: int) -> dict[str, float]:
        """Scalars by TensorBoard tag."""
        return {**super().figures(step), "train/clip_range": self._clip_range(step)}
