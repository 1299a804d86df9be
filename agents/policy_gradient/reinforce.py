"""REINFORCE with a baseline: one gradient step on whole episodes (Williams 1992; Sutton & Barto 2018, section 13.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from agents.losses.policy import normalize
from agents.on_policy.returns import lambda_returns
from agents.on_policy.rollout import Rollout
from agents.policy_gradient.actor_critic_loss import policy_gradient
from agents.policy_gradient.actors import Minibatch
from agents.policy_gradient.policy_gradient import PolicyGradient
from envs import TimeStep


class REINFORCE(PolicyGradient):
    """A REINFORCE agent, see `PolicyGradient`.

    Returns go to the episode's end; where it was truncated, the baseline's value of its last observation stands for the
    rest.
    """

    def update(self, rollout: Rollout, timestep: TimeStep, step: int) -> None:
        """One gradient step on all episodes."""
        last = self._value_after(timestep)
        returns = lambda_returns(
            rollout.reward,
            rollout.discount,
            torch.cat([rollout.value[1:], last[None]]),
            rollout.valid,
            gamma=self.settings.learner.gamma,
            lambda_=1.0,
        )
        advantage = returns - rollout.value
        if self.settings.policy_gradient.normalize_advantage:
            advantage = normalize(advantage, rollout.valid)
        self.learner.minimize_sum(self._parts(self._described(rollout, advantage, returns)))

    def _parts(self, steps: Minibatch) -> Iterator[tuple[Tensor, Mapping[str, Tensor]]]:
        """Losses of chunks, each weighted with its share of the steps."""
        settings, valid = self.settings, steps.valid.flatten()
        chunks = -(-len(valid) // settings.chunk_size)
        for chunk in self.actor.minibatches(steps, chunks, self._generator):
            loss, metrics = policy_gradient(self._outputs(chunk), chunk, self._weights, normalize_advantage=False)
            share = chunk.valid.sum() / valid.sum()
            yield share * loss, {name: share * value for name, value in metrics.items()}
