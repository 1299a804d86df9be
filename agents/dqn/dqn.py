"""The DQN family: what a network says, what its targets take over and which transitions it sees are parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from agents.acting.exploration import with_random
from agents.acting.policies import Decision
from agents.dqn.bootstraps import Bootstrap, MakeBootstrap
from agents.dqn.objectives import ValueLoss
from agents.learner.learner import Learner, evaluating
from agents.off_policy.replay_agent import ReplayAgent
from agents.off_policy.samplers import Sample, Sampler
from agents.off_policy.update import Losses
from agents.settings.dqn import DQNSettings
from envs import TimeStep
from wnrl.networks.noisy import Noise
from wnrl.replay.uniform import Transition
from wnrl.schedules import Linear


class Objective(NamedTuple):
    """What an agent learns from a batch."""

    bootstrap: MakeBootstrap
    value_loss: ValueLoss


class DQN(ReplayAgent):
    """An agent of the DQN family: a learner that holds `(g, v)`, and folded acting and target networks that hold `w`.

    Args:
        learner: of a `QNetwork`.
        sampler: of a replay on the same device, built with the settings' `n_step` and `gamma`.
        objective: what is learned from a batch.
        settings: the agent's numbers.
        rng: of exploration, and of the noise in networks and levels.
    """

    def __init__(
        self,
        learner: Learner,
        sampler: Sampler,
        objective: Objective,
        settings: DQNSettings,
        *,
        rng: np.random.Generator,
    ) -> None:
        network = learner.network
        super().__init__(learner, sampler, settings, acts=network, values=network, rng=rng)
        self.objective = objective
        self._noise, self._target_noise, self._acting_noise = (
            Noise(noisy, self._generator) for noisy in (self.network, self.target, self.acting)
        )
        self._target_noise.switch(on=True)  # it is drawn too (Fortunato et al. 2018, section 3.1)
        explore, begin = settings.exploration, settings.replay.learning_starts
        self._epsilon = Linear(explore.epsilon_start, explore.epsilon_end, explore.epsilon_steps, begin)

    # Acting

    @property
    def num_actions(self) -> int:
        """A."""
        return self.network.num_actions

    def act(self, timestep: TimeStep, step: int) -> Decision:
        """Uniformly random actions during the warm-up, then ε-greedy ones."""
        decision = super().act(timestep, step)
        if step < self.settings.replay.learning_starts:
            return decision
        return Decision(with_random(decision.action, self.num_actions, self._epsilon(step), self._rng))

    def _choose(self, obs: Tensor) -> Tensor:
        """Actions of greatest value, by a network that is noisy if it can be."""
        self._acting_noise.draw()
        self._acting_noise.switch(on=True)
        action = self._forward(self.acting, obs).q_values.argmax(1)
        self._acting_noise.switch(on=False)
        return action

    @property
    def evaluation_options(self) -> dict[str, Any]:
        """ε-greedy, without the networks' noise."""
        return {"epsilon": self.settings.exploration.eval_epsilon}

    # Learning

    @torch.no_grad()
    def _foresee(self, samples: Sequence[Sample]) -> Sequence[Any]:
        """What the target network, which waits while these updates are made, says of the next observations.

        Nothing where noise or levels are drawn anew for each batch.
        """
        if len(samples) == 1 or self.settings.noisy or self.settings.distribution == "implicit":
            return super()._foresee(samples)
        outputs = self._forward(self.target, torch.cat([sample.transition.next_obs for sample in samples]))
        number, size = len(samples), len(samples[0].transition.action)
        parts = zip(*(part.split(size) if part.ndim > 1 else [part] * number for part in outputs), strict=True)
        return [type(outputs)(*part) for part in parts]

    def _losses(self, sample: Sample, foreseen: Any) -> Losses:
        """What there is to learn from a batch; never waits for the device."""
        batch, value_loss = sample.transition, self.objective.value_loss
        bootstrap, next_outputs = self._future(batch, foreseen)
        self._noise.draw()  # not what chose the next action
        outputs = self._forward(self.network, batch.obs, value_loss.taus(len(batch.action), self._generator, False))
        losses = value_loss(outputs, batch.action, bootstrap, next_outputs)
        loss = losses.loss if sample.weights is None else losses.loss * sample.weights
        metrics = {"train/q_mean": outputs.q_values.mean(), "train/td_error": losses.error.abs().mean()}
        if self.settings.loss_reduction == "sum":
            return Losses(
                loss.sum() * self.learner.ranks.world_size, losses.priority, metrics
            )  # gradients are averaged
        return Losses(loss.mean(), losses.priority, metrics)

    @torch.no_grad()
    def _future(self, batch: Transition, foreseen: Any) -> tuple[Bootstrap, Any]:
        """What the targets of a batch take over, and what the target network says of the next observations."""
        for noise in (self._noise, self._target_noise):
            noise.draw()
        taus = self.objective.value_loss.taus(len(batch.action), self._generator, True)
        outputs = self._forward(self.target, batch.next_obs, taus) if foreseen is None else foreseen
        bootstrap = self.objective.bootstrap(batch, outputs.q_values, learner=self._learner_q, target=self._target_q)
        return bootstrap, outputs

    def _learner_q(self, obs: Tensor) -> Tensor:
        """The learner's values in evaluation mode, but noisy."""
        with evaluating(self.network):
            self._noise.switch(on=True)
            return self._forward(self.network, obs).q_values

    def _target_q(self, obs: Tensor) -> Tensor:
        return self._forward(self.target, obs).q_values

    def _forward(self, network: nn.Module, obs: Tensor, taus: Tensor | None = None) -> Any:
        with self.learner.autocast():
            return network(obs) if taus is None else network(obs, taus)

    # What a run shows

    def metrics(self, step: int) -> dict[str, float]:
        """Scalars by TensorBoard tag, and the share of random actions."""
        epsilon = 1.0 if step < self.settings.replay.learning_starts else self._epsilon(step)
        return {**super().metrics(step), "rollout/exploration_rate": epsilon}
