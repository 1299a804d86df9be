"""Advantage actor-critic: one gradient step on each rollout (Mnih et al. 2016, synchronous)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from agents.on_policy.rollout import Rollout
from agents.policy_gradient.actor_critic_loss import actor_critic_loss
from agents.policy_gradient.actors import ActorCriticMinibatch
from agents.policy_gradient.policy_gradient import PolicyGradientAgent
from envs import TimeStep
from wnrl.networks.actor_critic import ActorCriticValues


class A2CAgent(PolicyGradientAgent):
    """An A2C agent, see `PolicyGradientAgent`."""

    def _number_of_minibatches(self, rollout: Rollout) -> int:
        return 1

    def _learn_from(self, rollout: Rollout, order: Sequence[Tensor], timestep: TimeStep, step: int) -> None:
        (indices,) = order
        self.gradient_step(self._minibatch(self._steps_with_advantages(rollout, timestep), indices))

    def _objective(self, outputs: ActorCriticValues, batch: ActorCriticMinibatch) -> tuple[Tensor, dict[str, Tensor]]:
        return actor_critic_loss(outputs, batch, self._weights, normalize=self._normalizes)
