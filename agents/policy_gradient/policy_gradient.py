"""What on-policy agents have in common: they play a rollout with one policy, learn from it, and throw it away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.acting.policies import Decision, Policy, make_policy
from agents.learner.gradient_steps import GradientSteps
from agents.learner.learner import Learner
from agents.losses.policy import explained_variance
from agents.on_policy.episodes import EpisodeStorage
from agents.on_policy.returns import generalized_advantages
from agents.on_policy.reward_scaling import RewardClipping, RewardScaling
from agents.on_policy.rollout import Rollout, RolloutStorage, SampledAction
from agents.policy_gradient.actor_critic_loss import Weights
from agents.policy_gradient.actors import Actor, Minibatch, steps_of
from agents.runtime.cuda_graphs import Graphs
from envs import TimeStep
from wnrl.initialization.initialize import data_init
from wnrl.networks.actor_critic import ActorCriticValues
from wnrl.normalizers.folding import FoldedCopy
from wnrl.tracking.tracker import Means


class PolicyGradient:
    """An on-policy agent; a kind of agent says how it learns from a rollout in `update`.

    Args:
        learner: of an actor-critic network, whose folded copy acts.
        actor: acts with `acting`.
        acting: a folded copy of the learner's network.
        storage: of what is learned from at once, on the learner's device.
        rewards: what is learned from in the place of the environment's rewards.
        settings: the agent's numbers.
        rng: of actions and of the order of minibatches.

    Raises:
        ValueError: graphs are asked for where there are none.
    """

    overlap = False  # a rollout ends with the row that its last steps led to

    def __init__(
        self,
        learner: Learner,
        actor: Actor,
        acting: Any,
        storage: RolloutStorage | EpisodeStorage,
        rewards: RewardClipping | RewardScaling,
        settings: Any,
        *,
        rng: np.random.Generator,
    ) -> None:
        self.learner, self.actor, self.acting, self.storage = learner, actor, acting, storage
        self.rewards, self.settings = rewards, settings
        self.network: Any = learner.network
        self._generator = torch.Generator(learner.device).manual_seed(int(rng.integers(2**62)))
        self._rollouts = Means()
        self._folded_copy = FoldedCopy(acting, self.network)
        graphs = Graphs(learner.device, (self._generator,), enabled=settings.learner.graphs)
        self._graphs = graphs
        self._decide = graphs.capture_function(self._choose, "acting")
        self._refresh = graphs.capture(self._folded_copy.refresh, "refreshing what acts")
        self._gradient_step = GradientSteps(learner, self._loss_of, graphs if actor.evaluates_at_once else None)
        self._weights = Weights(settings.policy_gradient.value_coef, settings.policy_gradient.entropy_coef)
        self._waits_for_data = settings.learner.init == "data"

    # Acting

    @torch.no_grad()  # log-probabilities too: a Gaussian policy's standard deviations are parameters
    def act(self, timestep: TimeStep, step: int) -> Decision:
        """Actions sampled from the policy, with their log-probabilities and the values of the row."""
        if not len(self.storage):
            self.actor.begin()
        sampled = self._decide(*self.actor.see(timestep))
        return Decision(sampled.action.cpu().numpy(), sampled)

    def _choose(self, *row: Tensor) -> SampledAction:
        """What is done at a row that was seen; never waits for the device."""
        with self.learner.autocast():
            outputs = self.actor.act(*row)
        action = outputs.policy.sample(self._generator)
        return SampledAction(action, outputs.policy.log_prob(action), outputs.value)

    @property
    def evaluation_options(self) -> dict[str, Any]:
        """How evaluation plays, as options of `make_policy`: the most probable actions, or sampled ones."""
        return {"sample": self.settings.policy_gradient.eval_sample}

    def policy(self, rng: np.random.Generator) -> Policy:
        """The policy of an evaluation, with all its randomness from `rng`."""
        return make_policy(self.acting, rng, self.learner.autocast, **self.evaluation_options)

    def observe(self, timestep: TimeStep, decision: Decision) -> None:
        """Store a row and what was decided there."""
        self.storage.add(timestep, decision.record)

    # Learning

    def learn(self, before: int, after: int, timestep: TimeStep) -> None:
        """Store what followed; when the rollout is whole, learn from it."""
        self.storage.follow(timestep, self.rewards(timestep))
        if not self.storage.full:
            return
        rollout = self.storage.read()
        if self._waits_for_data:
            self.network.obs_norm.update(rollout.obs)
            self._initialize(rollout)
        else:
            self.learner.begin(after)
            self.update(rollout, timestep, after)
            self.network.obs_norm.update(rollout.obs)  # not before: what acted and what learns saw the same numbers
        self._refresh()
        self.storage.clear()

    def update(self, rollout: Rollout, timestep: TimeStep, step: int) -> None:
        """Learn from a rollout that the row `timestep` follows, at environment step `step`."""
        raise NotImplementedError

    def _learn_from(self, batch: Minibatch) -> None:
        """One gradient step on a minibatch."""
        self._gradient_step(*batch[:-1], *batch.state)

    def _loss_of(self, *fields: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`_loss` of a minibatch of these fields, its state last."""
        parts = len(Minibatch._fields) - 1
        return self._loss(Minibatch._make((*fields[:parts], fields[parts:])))

    def _loss(self, batch: Minibatch) -> tuple[Tensor, dict[str, Tensor]]:
        """What there is to learn from a minibatch, and its metrics; for agents that call `_learn_from`."""
        raise NotImplementedError

    def _outputs(self, batch: Minibatch) -> ActorCriticValues:
        """What the learner's network says of a minibatch."""
        with self.learner.autocast():
            return self.actor.evaluate(self.network, batch)

    def _value_after(self, timestep: TimeStep) -> Tensor:
        """Values `[N]` of the row that follows a rollout."""
        with self.learner.autocast():
            return self.actor.look(*self.actor.see(timestep))

    def _steps(self, rollout: Rollout, timestep: TimeStep) -> Minibatch:
        """The rollout's steps with advantages and returns."""
        last = self._value_after(timestep)
        advantage = generalized_advantages(
            rollout.reward,
            rollout.discount,
            rollout.value,
            torch.cat([rollout.value[1:], last[None]]),
            rollout.valid,
            gamma=self.settings.learner.gamma,
            lambda_=self.settings.rollout.gae_lambda,
        )
        target = advantage + rollout.value
        return self._described(rollout, advantage, target)

    def _described(self, rollout: Rollout, advantage: Tensor, target: Tensor) -> Minibatch:
        """All steps of a rollout; how well its values foretold its returns is shown."""
        variance = explained_variance(rollout.value, target, rollout.valid)
        known = variance.isfinite()  # not where the returns do not vary
        self._rollouts.add({"variance": torch.where(known, variance, 0.0), "known": known})
        return steps_of(rollout, advantage, target)

    def _initialize(self, rollout: Rollout) -> None:
        """The data-dependent initialization: on the first rollout, from which nothing else is learned."""
        batch = next(self.actor.minibatches(steps_of(rollout, rollout.value, rollout.value), 1, self._generator))
        data_init(self.network, *self.actor.inputs(batch), generator=self._generator)
        self._waits_for_data = False

    # What a run shows and keeps

    def metrics(self, step: int) -> dict[str, float]:
        """Scalars by TensorBoard tag: means since the last reading, and the state of schedules and layers."""
        generator = torch.Generator(self.learner.device).manual_seed(step)
        metrics, rollouts = self.learner.metrics(step, self.storage.seen(), generator), self._rollouts.read()
        if rollouts.get("known"):
            metrics["train/explained_variance"] = rollouts["variance"] / rollouts["known"]
        return metrics

    def get_state(self) -> dict[str, Any]:
        """Everything that the agent needs to go on as if it had not stopped."""
        return {
            "learner": self.learner.get_state(),
            "actor": self.actor.get_state(),
            "storage": self.storage.get_state(),
            "rewards": self.rewards.get_state(),
            "generator": self._generator.get_state(),
            "rollouts": self._rollouts.get_state(),
            "waits_for_data": self._waits_for_data,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `get_state`'s state."""
        for name in ("learner", "actor", "storage", "rewards"):
            getattr(self, name).set_state(state[name])
        self._generator.set_state(state["generator"].cpu())
        self._rollouts.set_state(state["rollouts"])
        self._waits_for_data = state["waits_for_data"]
        self._graphs.forget()
        self._folded_copy.refresh()
