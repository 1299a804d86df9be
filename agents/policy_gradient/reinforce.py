"""REINFORCE with a baseline: one gradient step on whole episodes (Williams 1992; Sutton & Barto 2018, section 13.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from agents.losses.policy import normalize_advantages
from agents.on_policy.returns import lambda_returns
from agents.on_policy.rollout import Rollout
from agents.policy_gradient.actor_critic_loss import actor_critic_loss
from agents.policy_gradient.actors import Actor, ActorCriticMinibatch, steps_of
from agents.policy_gradient.policy_gradient import PolicyGradientAgent
from agents.settings.policy_gradient import BatchStatistics
from envs import TimeStep
from wnrl.networks.actor_critic import ActorCriticValues


class REINFORCEAgent(PolicyGradientAgent):
    """A REINFORCE agent, see `PolicyGradientAgent`.

    Returns are Monte Carlo returns; where an episode was truncated, they are bootstrapped from the baseline's value of
    its last observation.
    """

    @staticmethod
    def compiles_whole(actor: Actor) -> bool:
        """No: the shapes of its chunks are others in each rollout."""
        return False

    def _batch_statistics(self) -> BatchStatistics:
        return "running"  # those of a chunk would make the update depend on its size

    def _number_of_minibatches(self, rollout: Rollout) -> int:
        return -(-rollout.valid.numel() // self.settings.chunk_size)

    def _learn_from(self, rollout: Rollout, order: Sequence[Tensor], timestep: TimeStep, step: int) -> None:
        """One gradient step on all episodes."""
        returns = lambda_returns(
            rollout.reward,
            rollout.discount,
            self._next_values(rollout, timestep),
            rollout.valid,
            gamma=self.settings.learner.gamma,
            lambda_=1.0,
        )
        advantage = returns - rollout.value
        if self.settings.policy_gradient.normalize_advantage:  # of all chunks together
            advantage = normalize_advantages(advantage, rollout.valid)
        self._record_explained_variance(rollout, returns)
        self.learner.update_sum(self._chunk_losses(steps_of(rollout, advantage, returns), order))

    def _chunk_losses(
        self, steps: ActorCriticMinibatch, order: Sequence[Tensor]
    ) -> Iterator[tuple[Tensor, Mapping[str, Tensor]]]:
        """Losses and metrics of chunks, each weighted with its share of the valid steps."""
        for indices in order:
            chunk = self.actor.take(steps, indices)
            loss, metrics = self._loss(chunk)
            share = chunk.valid.sum() / steps.valid.sum()
            yield share * loss, {name: share * value for name, value in metrics.items()}

    def _objective(self, outputs: ActorCriticValues, batch: ActorCriticMinibatch) -> tuple[Tensor, dict[str, Tensor]]:
        return actor_critic_loss(outputs, batch, self._weights, normalize=False)
