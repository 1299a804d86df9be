"""The DQN family. What its targets bootstrap from and what its loss compares is an objective, see `objectives`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from agents.acting.exploration import ExplorationRate, RandomActions
from agents.dqn.objectives import Objective
from agents.learner.learner import Learner
from agents.off_policy.replay_agent import ReplayAgent, RowDraws
from agents.off_policy.update import BatchLoss, Sample, Sampler
from agents.runtime.hardware import is_small
from agents.settings.dqn import DQNSettings
from wnrl.networks.implicit_quantiles import split_levels
from wnrl.networks.noisy import Noise, NoisyLinear
from wnrl.networks.own_torso import OwnTorso
from wnrl.normalizers.batch_statistics import batch_norms
from wnrl.normalizers.spectral_norm import SpectralNormalized
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

MOST_JOINT_EXAMPLES = 64
"""In a batch on CUDA; of the Nature network on an H100, batches of 256 take a fifth longer in one pass."""
MOST_JOINT_PRODUCTS = {False: 1_000_000, True: 8_000_000}
"""Weights times examples on a CPU, of plain and of weight-normalized networks; measured on layers of 64 and 256."""


class Draws(NamedTuple):
    """What is drawn for the loss of a batch: the noise of networks, and arguments of theirs; empty where there is none.

    Each is of one forward pass, in the order in which they are drawn.
    """

    choosing_noise: Any  # of the learner's network for the next observations
    target_noise: Any
    target_levels: tuple[()] | tuple[Tensor]  # of the target network for the next observations
    choosing_levels: tuple[()] | tuple[Tensor]
    bonus_levels: tuple[()] | tuple[Tensor]  # of the target network for the observations
    noise: Any  # of the learner's network for the observations: not that which chose the next action
    levels: tuple[()] | tuple[Tensor]


class DQNAgent(ReplayAgent):
    """An agent of the DQN family: a learner that holds `(g, v)`, and folded acting and target networks that hold `w`.

    Args:
        learner: of a `QNetwork`.
        sampler: of a replay buffer on the same device, built with the settings' `n_step` and `gamma`.
        objective: what is learned from a batch.
        settings: of the agent.
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
        self._autocast = learner.autocast()  # of one forward pass after the other
        self._noise, self._target_noise, self._acting_noise = (
            Noise(noisy, self._generator) for noisy in (self.network, self.target, self.acting)
        )
        self._draw_acting_noise = self._graphs.capture(self._acting_noise.draw, "drawing noise")
        self._target_noise.switch(on=True)  # it is drawn too (Fortunato et al. 2018, section 3.1)
        implicit = settings.distribution == "implicit"
        self._taus, self._target_taus = (settings.taus, settings.target_taus) if implicit else (0, 0)
        self._policy_taus = settings.policy_taus if implicit else 0
        # Other levels choose the next action than value it (Dabney et al. 2018b, equation 2).
        self._choosing_taus = 0 if objective.bootstrap.uses_next_q else self._policy_taus
        joins = objective.bootstrap.uses_next_q and not implicit and passes_join(network)
        self._joins = joins and joining_pays(network, settings.replay.batch_size, learner.device)
        self._epsilon = ExplorationRate(settings.exploration, settings.replay.learning_starts)

    # Acting

    @property
    def values_returns(self) -> bool:  # type: ignore[override]
        """Whether its values are of returns: those of Munchausen DQN are of rewards with a bonus."""
        return not self.settings.munchausen

    @property
    def num_actions(self) -> int:
        """A."""
        return self.network.num_actions

    @property
    def evaluation_options(self) -> dict[str, Any]:
        """ε-greedy, without the networks' noise."""
        return {"epsilon": self.settings.exploration.eval_epsilon}

    def _draw_own(self, number: int, step: int) -> RowDraws:
        """Random actions for ε-greedy ones; noisy layers get new noise."""
        if self.settings.noisy:
            self._draw_acting_noise()
        return RowDraws(RandomActions.draw(number, self.num_actions, self._epsilon(step), self._rng))

    def _choose(self, obs: Tensor, *noise: Tensor) -> Tensor:
        """Greedy actions, with the noise of noisy layers as it was drawn."""
        if self.settings.noisy:
            self._acting_noise.switch(on=True)
        with self.learner.autocast():
            action = self.acting(obs).q_values.argmax(1)
        if self.settings.noisy:
            self._acting_noise.switch(on=False)
        return action

    # Learning

    @property
    def looks_ahead(self) -> bool:  # type: ignore[override]
        """Whether `next_outputs_ahead` computes anything: not where noise or levels are drawn for each batch."""
        return not (self.settings.noisy or self._target_taus)

    @torch.no_grad()
    def next_outputs_ahead(self, samples: Sequence[Sample]) -> Sequence[Any]:
        """The target network's outputs for the next observations of several batches, in one forward pass.

        None where new noise or levels are drawn for each batch.
        """
        if not self.looks_ahead:
            return super().next_outputs_ahead(samples)
        size = len(samples[0].transition.action)
        with self.learner.autocast():
            next_obs = [sample.transition.next_obs for sample in samples]
            outputs = self.target(torch.cat(next_obs) if len(next_obs) > 1 else next_obs[0])
        return _parts(outputs, size, len(samples))

    def draw(self, batch_size: int) -> Draws:
        """The noise and the levels of a batch."""
        rule = self.objective.bootstrap
        return Draws(
            self._noise.drawn(),
            self._target_noise.drawn(),
            self._levels(self._choosing_taus + self._target_taus, batch_size),
            self._levels(self._policy_taus if rule.uses_next_q else 0, batch_size),
            self._levels(self._policy_taus if rule.uses_target_q else 0, batch_size),
            self._noise.drawn(),
            self._levels(self._taus, batch_size),
        )

    def batch_loss(self, sample: Sample, next_outputs: Any, draws: Draws | None = None) -> BatchLoss:
        """The loss of a batch, with what was drawn for it (None draws it now); never waits for the device.

        Autocast is left after each forward pass: within it, the next pass would reuse casts made without gradient.
        """
        batch, objective, autocast = sample.transition, self.objective, self._autocast
        draws = self.draw(len(batch.action)) if draws is None else draws
        next_q: Tensor | None = None
        target_q: Tensor | None = None
        policy_q: Tensor | None = None
        with torch.no_grad():
            self._noise.put(draws.choosing_noise)
            self._target_noise.put(draws.target_noise)
            if next_outputs is None:
                with autocast:
                    next_outputs = self.target(batch.next_obs, *draws.target_levels)
            if self._choosing_taus:
                chosen, next_outputs = split_levels(next_outputs, self._choosing_taus)
                policy_q = chosen.q_values
            if objective.bootstrap.uses_next_q and not self._joins:
                self.network.eval()  # running statistics, and none are moved
                self._noise.switch(on=True)
                with autocast:
                    next_q = self.network(batch.next_obs, *draws.choosing_levels).q_values
                self.network.train()
            if objective.bootstrap.uses_target_q:
                with autocast:
                    target_q = self.target(batch.obs, *draws.bonus_levels).q_values
            self._noise.put(draws.noise)
        with autocast:
            obs = torch.cat((batch.obs, batch.next_obs)) if self._joins else batch.obs
            outputs = self.network(obs, *draws.levels)
        if self._joins:
            outputs, chosen = _parts(outputs, len(batch.action), 2)
            next_q = chosen.q_values.detach()
        loss, priority, error = objective(
            batch, outputs, next_outputs, next_q=next_q, target_q=target_q, policy_q=policy_q
        )
        loss = loss if sample.weights is None else loss * sample.weights
        metrics = {"train/q_mean": outputs.q_values.mean(), "train/td_error": error.abs().mean()}
        if self.settings.loss_reduction == "mean":
            return BatchLoss(loss.mean(), priority, metrics)
        return BatchLoss(loss.sum() * self.learner.ranks.world_size, priority, metrics)  # gradients are averaged

    def _levels(self, number: int, batch_size: int) -> tuple[()] | tuple[Tensor]:
        """Uniform quantile levels `[B, number]` as an argument of a network; none where the head takes its own."""
        if not number:
            return ()
        generator = self._generator
        return (torch.rand(batch_size, number, generator=generator, device=generator.device),)

    # What a run logs

    def metrics(self, step: int) -> dict[str, float]:
        """Scalars by TensorBoard tag, and the exploration rate."""
        epsilon = 1.0 if step < self.settings.replay.learning_starts else self._epsilon(step)
        return {**super().metrics(step), "rollout/exploration_rate": epsilon}


def passes_join(network: nn.Module) -> bool:
    """Whether two batches may go through `network` as one.

    Not where outputs depend on other examples, on the mode or on what is drawn for each pass, as batch statistics,
    spectral normalization's power iteration and noisy layers do, nor through a module of which nothing is known.
    """
    others = (NoisyLinear, SpectralNormalized, OwnTorso)
    return not batch_norms(network) and not any(isinstance(module, others) for module in network.modules())


def joining_pays(network: nn.Module, batch_size: int, device: torch.device) -> bool:
    """Whether one pass through `network` of observations and next observations takes less time than one of each.

    A backward pass through both takes longer, except where most of the time goes into starting operations: in small
    batches on CUDA, and in small networks, the more so where each pass forms the weights.
    """
    if device.type == "cuda":
        return batch_size <= MOST_JOINT_EXAMPLES
    forms = any(isinstance(module, WeightNormLayer) for module in network.modules())
    products = batch_size * sum(parameter.numel() for parameter in network.parameters())
    return is_small(network) and products < MOST_JOINT_PRODUCTS[forms]


def _parts(outputs: Any, size: int, number: int) -> list[Any]:
    """A network's outputs for `number` batches of `size` observations that it got as one."""

    fields = [x.split(size) if x.ndim > 1 else [x] * number for x in outputs]  # vectors are the head's buffers
    return [type(outputs)(*part) for part in zip(*fields, strict=True)]
