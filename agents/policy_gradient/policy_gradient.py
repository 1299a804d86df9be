"""What PPO, A2C and REINFORCE share: an actor-critic that samples its actions, and advantages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.acting.policies import Decision
from agents.learner.learner import GradientSteps, Learner
from agents.losses.policy import explained_variance
from agents.on_policy.episodes import EpisodeStorage
from agents.on_policy.joint import jointly_normalized, update_jointly
from agents.on_policy.on_policy_agent import OnPolicyAgent
from agents.on_policy.returns import generalized_advantages
from agents.on_policy.reward_scaling import RewardClipping, RewardScaling
from agents.on_policy.rollout import Rollout, RolloutStorage, SampledAction
from agents.policy_gradient.actor_critic_loss import LossWeights
from agents.policy_gradient.actors import Actor, ActorCriticMinibatch, ActorState, outputs_of, steps_of
from agents.runtime.distributed import joint_weight
from agents.settings.policy_gradient import BatchStatistics
from envs import TimeStep
from wnrl.initialization.initialize import initialize
from wnrl.networks.actor_critic import ActorCriticValues
from wnrl.normalizers.batch_statistics import batch_norms, hold_statistics, update_statistics
from wnrl.tracking.means import Means
from wnrl.weight_norm.factors import outdate

STATISTICS_OBS = 2_048  # of a rollout at most, towards which running statistics of batch normalization move
STATISTICS_SHARE = 0.01  # by so much: it moves the policy too, unseen by its gradient


class PolicyGradientAgent(OnPolicyAgent):
    """Base of the policy gradients: an agent adds how it learns from a rollout, and its loss.

    Args:
        learner: of an actor-critic.
        actor: acts with a folded copy of the learner's network.
        storage: of what is learned from at once, on the learner's device.
        rewards: from a row to the rewards to learn from.
        settings: of the agent, with `policy_gradient` and `learner`.
        rng: of actions and of the order of minibatches.
        overlaps_rollouts: whether the next rollout is played while the last is learned from.

    Raises:
        ValueError: graphs are asked for where there are none.
    """

    def __init__(
        self,
        learner: Learner,
        actor: Actor,
        storage: RolloutStorage | EpisodeStorage,
        rewards: RewardClipping | RewardScaling,
        settings: Any,
        *,
        rng: np.random.Generator,
        overlaps_rollouts: bool = False,
    ) -> None:
        generator = torch.Generator(learner.device).manual_seed(int(rng.integers(2**62)))
        acting, overlaps = actor.network, overlaps_rollouts
        super().__init__(learner, acting, storage, rewards, settings, generator=generator, overlaps_rollouts=overlaps)
        self.actor = actor
        if learner.compiler.asked and not self.compiles_whole(actor):
            self.network.compile()
        self.gradient_step = GradientSteps(learner, self._loss, self._graphs if actor.capturable else None)
        self._weights = LossWeights(settings.policy_gradient.value_coef, settings.policy_gradient.entropy_coef)
        self._explained_variance = Means()
        self._statistics = self._batch_statistics() if batch_norms(self.network) else "none"
        if self._statistics == "running":
            hold_statistics(self.network)

    @staticmethod
    def compiles_whole(actor: Actor) -> bool:
        """Whether gradient steps can be compiled as a whole; where not, `--compile` compiles the network, in parts."""
        return actor.capturable

    # Acting

    @property
    def evaluation_options(self) -> dict[str, Any]:
        """How evaluation plays, as options of `make_policy`: the most probable actions, or sampled ones."""
        return {"sample": self.settings.policy_gradient.eval_sample}

    def _draw_row(self, number: int, step: int) -> Tensor:
        return self.actor.network.policy.noise(number, self._generator)

    @torch.no_grad()  # log-probabilities too: a Gaussian policy's standard deviations are parameters
    def act_on(self, timestep: TimeStep, draws: Tensor, part: slice) -> Decision:
        """Actions sampled from the policy, stored with their log-probabilities and the values of the row."""
        sampled, state = self._decide(draws[part], *self.actor.inputs(timestep, part))
        self.actor.move(state, part)
        return Decision(sampled.action.cpu().numpy(), sampled)

    def _choose(self, *inputs: Tensor) -> tuple[SampledAction, ActorState]:
        """Actions sampled for a row, with what is stored of them, and the actor's state after it."""
        noise, *row = inputs
        with self.learner.autocast():
            outputs, state = self.actor.act(*row)
        action = outputs.policy.sample_by(noise)
        return SampledAction(action, outputs.policy.log_prob(action), outputs.value), state

    # Learning

    def learn(self, before: int, after: int, timestep: TimeStep) -> None:
        """As `OnPolicyAgent`; a rollout begins in the state that the actor has then."""
        super().learn(before, after, timestep)
        if not len(self.storage):
            self.actor.start_rollout()

    def update(self, rollout: Rollout, timestep: TimeStep, step: int) -> None:
        """Learn from a rollout, see `OnPolicyAgent`.

        Statistics on which the network depends and that are not those with which it acted are in use before its
        log-probabilities and values are computed again, so that the policy has moved by gradient steps alone. Where
        rollouts overlap they stay those of the policy that acted, but for the first rollout.
        """
        first = not self.learner.num_updates
        order = self.actor.order(rollout.valid.shape, self._number_of_minibatches(rollout), self._learning_generator)
        if first:  # otherwise it would be learned unnormalized
            update_jointly(self.network.obs_norm, rollout.obs, self.learner.ranks)
        if self._statistics == "running":
            self._move_statistics(rollout.obs)
        others = self._statistics != "none" or (first and self.settings.policy_gradient.normalize_obs)
        if others and (first or not self.overlaps_rollouts):
            rollout = self._evaluated(rollout, order)
        self._learn_from(rollout, order, timestep, step)
        if not first:  # not before: acting and learning see the same numbers
            update_jointly(self.network.obs_norm, rollout.obs, self.learner.ranks)

    def _batch_statistics(self) -> BatchStatistics:
        """With which statistics a norm that has some learns."""
        return self.settings.rollout.batch_statistics

    def _number_of_minibatches(self, rollout: Rollout) -> int:
        """In how many a rollout is learned."""
        raise NotImplementedError

    def _learn_from(self, rollout: Rollout, order: Sequence[Tensor], timestep: TimeStep, step: int) -> None:
        """Make the gradient steps of a rollout, the first of them on the minibatches of `order`, see `Actor.order`."""
        raise NotImplementedError

    def _move_statistics(self, obs: Tensor) -> None:
        """Move running statistics towards those of a rollout's observations `[T, N, *obs_shape]`."""
        obs = obs.flatten(0, 1)
        if len(obs) > STATISTICS_OBS:  # and not in chunks, so that their size does not matter
            order = torch.randperm(len(obs), generator=self._learning_generator, device=obs.device)
            obs = obs[order[:STATISTICS_OBS]]
        if len(obs) > 1:
            outdate(self.network)  # its layers have not seen what a graph did
            with self.learner.autocast():
                update_statistics(self.network, lambda: outputs_of(self.network, obs), share=STATISTICS_SHARE)

    @torch.no_grad()
    def _evaluated(self, rollout: Rollout, order: Sequence[Tensor]) -> Rollout:
        """A rollout with the log-probabilities and values by the learner's network in the minibatches of `order`."""
        outdate(self.network)
        log_prob, value = torch.zeros_like(rollout.log_prob), torch.zeros_like(rollout.value)
        for indices in order:
            batch = self.actor.take(steps_of(rollout, value, value), indices)
            with self.learner.autocast():
                outputs = self.actor.evaluate(self.network, batch)
            self.actor.put(outputs.policy.log_prob(batch.action), indices, log_prob)
            self.actor.put(outputs.value, indices, value)
        self._refresh()  # which gives the value of the row that follows
        return rollout._replace(log_prob=log_prob, value=value)

    def _loss(self, batch: ActorCriticMinibatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a minibatch, and its metrics; never waits for the device where the actor is capturable."""
        with self.learner.autocast():
            outputs = self.actor.evaluate(self.network, batch)
        return self._objective(outputs, batch)

    def _objective(self, outputs: ActorCriticValues, batch: ActorCriticMinibatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the network's outputs for a minibatch, and its metrics."""
        raise NotImplementedError

    def _values(self, timestep: TimeStep) -> Tensor:
        with self.learner.autocast():
            return self.actor.value(*self.actor.inputs(timestep, slice(None)))

    def _steps_with_advantages(self, rollout: Rollout, timestep: TimeStep) -> ActorCriticMinibatch:
        """The steps `[T, N]` of a rollout with their generalized advantages, and returns that are advantage + value."""
        advantage = generalized_advantages(
            rollout.reward,
            rollout.discount,
            rollout.value,
            self._next_values(rollout, timestep),
            rollout.valid,
            gamma=self.settings.learner.gamma,
            lambda_=self.settings.rollout.gae_lambda,
        )
        target = advantage + rollout.value
        self._record_explained_variance(rollout, target)
        return steps_of(rollout, advantage, target)

    def _record_explained_variance(self, rollout: Rollout, target: Tensor) -> None:
        """Keep for the log how well a rollout's values predicted its returns `[T, N]`."""
        variance = explained_variance(rollout.value, target, rollout.valid)
        known = variance.isfinite()  # not where the returns do not vary
        self._explained_variance.add({"variance": torch.where(known, variance, 0.0), "known": known})

    def _minibatch(self, steps: ActorCriticMinibatch, indices: Tensor) -> ActorCriticMinibatch:
        """Some steps of a rollout; in a run of several processes their advantages are normalized here, if at all."""
        batch, ranks = self.actor.take(steps, indices), self.learner.ranks
        if ranks.world_size == 1 or not self.settings.policy_gradient.normalize_advantage:
            return batch
        return batch._replace(advantage=jointly_normalized(batch.advantage, batch.valid, ranks))

    def _joint_mean(self, mean: Tensor, batch: ActorCriticMinibatch) -> float:
        """The mean over the valid steps of all processes, from that over those of this one."""
        ranks = self.learner.ranks
        return float(ranks.gather(joint_weight(batch.valid, ranks) * mean).mean())

    @property
    def _normalizes(self) -> bool:
        """Whether the loss of a minibatch normalizes its advantages."""
        return self.settings.policy_gradient.normalize_advantage and self.learner.ranks.world_size == 1

    def _initial_rollout(self, rollout: Rollout) -> Rollout:
        """That of all processes; a recurrent network has states of its own environments alone, and takes those."""
        return super()._initial_rollout(rollout) if self.actor.capturable else rollout

    def _initialize(self, rollout: Rollout) -> None:
        self.network.obs_norm.update(rollout.obs)
        (indices,) = self.actor.order(rollout.valid.shape, 1, self._learning_generator)
        batch = self.actor.take(steps_of(rollout, rollout.value, rollout.value), indices)
        init, inputs = self.settings.learner.init, self.actor.minibatch_inputs(batch)
        initialize(self.network, init, *inputs, generator=self._learning_generator)

    # What a run logs and keeps

    def metrics(self, step: int) -> dict[str, float]:
        """Scalars by TensorBoard tag."""
        metrics, means = super().metrics(step), self._explained_variance.read()
        if means.get("known"):
            metrics["train/explained_variance"] = means["variance"] / means["known"]
        return metrics

    def get_state(self) -> dict[str, Any]:
        """Everything that the agent needs to continue as if it had not stopped."""
        return {
            **super().get_state(),
            "rewards": self.rewards.get_state(),
            "rollouts": self._explained_variance.get_state(),
        }

    def _moved_by_acting(self) -> dict[str, Any]:
        return {**super()._moved_by_acting(), "actor": self.actor.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from such a state."""
        super().set_state(state)
        self.actor.set_state(state["actor"])
        if not len(self.storage):  # in checkpoints of earlier versions its state is that of the rollout before
            self.actor.start_rollout()
        self.rewards.set_state(state["rewards"])
        self._explained_variance.set_state(state["rollouts"])
