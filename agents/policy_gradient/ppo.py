"""Proximal policy optimization (Schulman et al. 2017): the loss, and epochs of gradient steps on each rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from agents.losses.policy import (
    approximate_kl,
    clip_fraction,
    clipped_surrogate,
    clipped_value_loss,
    masked_means,
    value_loss,
)
from agents.on_policy.rollout import Rollout
from agents.policy_gradient.actor_critic_loss import LossWeights, advantages_of, weighted_loss
from agents.policy_gradient.actors import ActorCriticMinibatch
from agents.policy_gradient.policy_gradient import PolicyGradientAgent
from envs import TimeStep
from wnrl.networks.actor_critic import ActorCriticValues
from wnrl.schedules import LinearSchedule


def ppo_loss(
    outputs: ActorCriticValues,
    batch: ActorCriticMinibatch,
    weights: LossWeights,
    *,
    normalize: bool,
    clip: float | Tensor,
    value_clip: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of PPO (Schulman et al. 2017, equation 9, negated), and its metrics.

    Args:
        outputs: of the learner's network for the minibatch.
        batch: what was done there.
        weights: of the value loss and the entropy.
        normalize: whether the minibatch's advantages are normalized.
        clip: clip range ε of the ratio π/π_old.
        value_clip: clip range of the values around the rollout's, in units of value; 0 does not clip.
    """
    log_prob, old_log_prob = outputs.policy.log_prob(batch.action).flatten(), batch.log_prob.flatten()
    value, target, valid = outputs.value.flatten(), batch.target.flatten(), batch.valid.flatten()
    policy_losses = clipped_surrogate(log_prob, old_log_prob, advantages_of(batch, normalize=normalize), clip)
    if value_clip:
        value_losses = clipped_value_loss(value, batch.value.flatten(), target, value_clip)
    else:
        value_losses = value_loss(value, target)
    loss, metrics = weighted_loss(policy_losses, value_losses, outputs, batch, weights)
    log_prob = log_prob.detach()
    moved = torch.stack((approximate_kl(log_prob, old_log_prob), clip_fraction(log_prob, old_log_prob, clip)))
    metrics["train/approx_kl"], metrics["train/clip_fraction"] = masked_means(moved, valid).unbind()
    return loss, metrics


class PPOAgent(PolicyGradientAgent):
    """A PPO agent, see `PolicyGradientAgent`.

    Args:
        clip_range: of the ratio π/π_old, by environment step.
        parts: arguments of `PolicyGradientAgent`.
    """

    def __init__(self, *, clip_range: LinearSchedule, **parts: Any) -> None:
        super().__init__(**parts)
        self._clip_range = clip_range
        self._clip = torch.zeros((), device=self.learner.device)  # of the current rollout; a captured step reads it

    def _number_of_minibatches(self, rollout: Rollout) -> int:
        return self.settings.minibatches

    def _learn_from(self, rollout: Rollout, order: Sequence[Tensor], timestep: TimeStep, step: int) -> None:
        """Epochs of gradient steps on shuffled minibatches, stopped early where the policy has moved too far."""
        self._clip.fill_(self._clip_range(step))
        generator = self._learning_generator
        steps, target_kl = self._steps_with_advantages(rollout, timestep), self.settings.target_kl
        for epoch in range(self.settings.epochs):
            if epoch:
                order = self.actor.order(rollout.valid.shape, self.settings.minibatches, generator)
            for indices in order:
                batch = self._minibatch(steps, indices)
                if not target_kl:
                    self.gradient_step(batch)
                    continue
                loss, metrics = self.gradient_step.loss(batch)
                if self._joint_mean(metrics["train/approx_kl"], batch) > 1.5 * target_kl:  # waits for the device
                    return
                self.learner.update(loss, metrics)

    def _objective(self, outputs: ActorCriticValues, batch: ActorCriticMinibatch) -> tuple[Tensor, dict[str, Tensor]]:
        return ppo_loss(
            outputs,
            batch,
            self._weights,
            normalize=self._normalizes,
            clip=self._clip,
            value_clip=self.settings.value_clip,
        )

    def metrics(self, step: int) -> dict[str, float]:
        """Scalars by TensorBoard tag."""
        return {**super().metrics(step), "train/clip_range": self._clip_range(self._learned)}
