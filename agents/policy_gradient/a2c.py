"""Advantage actor-critic: one gradient step on each rollout (Mnih et al. 2016, synchronous)."""

from __future__ import annotations

from torch import Tensor

from agents.on_policy.rollout import Rollout
from agents.policy_gradient.actor_critic_loss import policy_gradient
from agents.policy_gradient.actors import Minibatch
from agents.policy_gradient.policy_gradient import PolicyGradient
from envs import TimeStep


class A2C(PolicyGradient):
    """An A2C agent, see `PolicyGradient`."""

    def update(self, rollout: Rollout, timestep: TimeStep, step: int) -> None:
        """One gradient step on the rollout."""
        self._learn_from(next(self.actor.minibatches(self._steps(rollout, timestep), 1, self._generator)))

    def _loss(self, batch: Minibatch) -> tuple[Tensor, dict[str, Tensor]]:
        normalize = self.settings.policy_gradient.normalize_advantage
        return policy_gradient(self._outputs(batch), batch, self._weights, normalize)
