"""Proximal policy optimization (Schulman et al. 2017): epochs on each rollout, kept near the policy that acted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from agents.on_policy.rollout import Rollout
from agents.policy_gradient.actor_critic_loss import proximal
from agents.policy_gradient.actors import Minibatch
from agents.policy_gradient.policy_gradient import PolicyGradient
from envs import TimeStep
from wnrl.schedules import Linear


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
            loss, metrics = self._loss(batch)
            if float(metrics["train/approx_kl"]) > 1.5 * self.settings.target_kl:
                return
            self.learner.minimize(loss, metrics)

    def _loss(self, batch: Minibatch) -> tuple[Tensor, dict[str, Tensor]]:
        settings, outputs = self.settings, self._outputs(batch)
        normalize = settings.policy_gradient.normalize_advantage
        return proximal(outputs, batch, self._weights, normalize, self._clip, settings.value_clip)

    def _epochs(self, steps: Minibatch) -> Iterator[Minibatch]:
        for _ in range(self.settings.epochs):
            yield from self.actor.minibatches(steps, self.settings.minibatches, self._generator)

    def metrics(self, step: int) -> dict[str, float]:
        """Scalars by TensorBoard tag."""
        return {**super().metrics(step), "train/clip_range": self._clip_range(step)}
