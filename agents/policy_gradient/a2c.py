"""Advantage actor-critic: one gradient step on each rollout (Mnih et al. 2016, synchronous)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agents.on_policy.rollout import Rollout
from agents.policy_gradient.actor_critic_loss import policy_gradient
from agents.policy_gradient.actors import Minibatch
from agents.policy_gradient.policy_gradient import PolicyGradient, RolloutSettings
from envs import TimeStep


@dataclass(frozen=True)
class A2CSettings(RolloutSettings):
    """The numbers of an A2C agent."""

    rollout_length: int = 5
    """Steps of each environment between two updates."""
    gae_lambda: float = 1.0
    """Generalized advantage estimation: 0 trusts the value after one step, 1 the rewards of the whole rollout."""
    normalize_advantage: bool = False
    """Shift and scale the advantages of each rollout to mean 0 and standard deviation 1."""


class A2C(PolicyGradient):
    """An A2C agent, see `PolicyGradient`."""

    def update(self, rollout: Rollout, timestep: TimeStep, step: int) -> None:
        """One gradient step on the rollout."""
        self._learn_from(next(self.actor.minibatches(self._steps(rollout, timestep), 1, self._generator)))

    def _loss(self, batch: Minibatch) -> tuple[Tensor, dict[str, Tensor]]:
        return policy_gradient(self._outputs(batch), batch, self._weights, self.settings.normalize_advantage)
