"""The DQN family: what a network says, what its targets take over and which transitions it sees are parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from agents.acting.exploration import with_random
from agents.acting.policies import Policy, make_policy
from agents.dqn.bootstraps import Bootstrap, MakeBootstrap
from agents.dqn.objectives import ValueLoss
from agents.learner.learner import Learner, evaluating
from agents.off_policy.replay_agent import ReplayAgent
from agents.off_policy.samplers import Sample, Sampler
from agents.off_policy.update import Losses
from agents.settings.run import (
    ExplorationSettings,
    LearnerSettings,
    ReplaySettings,
    check_above_zero,
    check_at_least,
    check_shares,
    check_used,
)
from envs import TimeStep
from wnrl.networks.noisy import Noise
from wnrl.networks.q_network import Distribution
from wnrl.replay.uniform import Transition
from wnrl.schedules import Linear


@dataclass(frozen=True)
class DQNSettings(ReplaySettings, ExplorationSettings, LearnerSettings):
    """The numbers of an agent of the DQN family; each interval is in environment steps."""

    batch_size: int = 32
    """Transitions per update."""
    train_interval: int = 4
    """Steps per update (one update every so many steps, for any number of environments)."""
    learning_starts: int = 8_000
    """Steps of uniformly random play before the first update."""
    replay_size: int = 100_000
    """Transitions that the replay holds, in steps."""
    n_step: int = 1
    """Steps of reward before the target network's value is used."""
    double: bool = False
    """Let the learner choose the action that the target network values (double Q learning)."""
    dueling: bool = False
    """Separate streams for the state's value and the actions' advantages."""
    noisy: bool = False
    """Explore by learned noise on the fully connected layers instead of random actions."""
    distribution: Distribution = "none"
    """Form of the return's distribution: none (its mean), categorical (C51), quantile (QR-DQN), implicit (IQN)."""
    atoms: int = 51
    """Atoms of --distribution categorical."""
    v_min: float = -10.0
    """Least atom, in units of a return (after reward clipping)."""
    v_max: float = 10.0
    """Greatest atom, in units of a return (after reward clipping)."""
    quantiles: int = 200
    """Quantiles of --distribution quantile."""
    acting_taus: int = 32
    """Levels whose mean is followed by --distribution implicit."""
    taus: int = 64
    """Levels drawn for the learner in each update of --distribution implicit."""
    target_taus: int = 64
    """Levels drawn for the target network in each update of --distribution implicit."""
    munchausen: bool = False
    """Add the policy's own log-probability to the reward, and value the softmax policy (Munchausen DQN)."""
    munchausen_alpha: float = 0.9
    """Share of the log-probability that is added."""
    munchausen_temperature: float = 0.03
    """Temperature of the softmax policy, in units of a return."""
    munchausen_low: float = -1.0
    """Least value of temperature times log-probability that is added, in units of a return."""
    prioritized: bool = False
    """Sample transitions by their last loss (prioritized replay)."""
    priority_exponent: float = 0.5
    """Exponent of a transition's last loss in its chance to be sampled: 0 samples uniformly, 1 in proportion."""
    priority_beta: float = 0.4
    """How far the losses' weights undo that when learning starts: 0 not at all; it grows to 1, fully, at the end."""
    target_interval: int = 1_000
    """Steps between two updates of the target network."""
    tau: float = 1.0
    """Share of the learner that the target network takes over at each of its updates; 1 copies."""
    huber_delta: float = 1.0
    """TD error at which the loss turns from quadratic to linear, in units of a return."""
    loss_reduction: Literal["mean", "sum"] = "mean"
    """Whether an update descends the mean or the sum of a batch's losses."""
    init_batch: int = 500
    """Observations that --init data looks at."""

    def check(self) -> None:
        """Refuse values out of range, and options that would do nothing."""
        check_at_least(self, 1, "batch_size", "train_interval", "replay_size", "n_step", "target_interval")
        check_at_least(self, 1, "init_batch", "quantiles", "acting_taus", "taus", "target_taus")
        check_at_least(self, 2, "atoms")
        check_at_least(self, 0, "learning_starts")
        check_above_zero(self, "huber_delta", "munchausen_temperature")
        check_shares(self, "tau", "munchausen_alpha", "priority_exponent", "priority_beta")
        if self.v_min >= self.v_max:
            raise ValueError(f"v_min must be under v_max, got {self.v_min} and {self.v_max}")
        if self.munchausen_low > 0:
            raise ValueError(f"munchausen_low must not be above 0, got {self.munchausen_low}")
        self._check_combination()

    def _check_combination(self) -> None:
        kind = self.distribution
        check_used(self, kind == "categorical", "distribution categorical", "atoms", "v_min", "v_max")
        check_used(self, kind == "quantile", "distribution quantile", "quantiles")
        check_used(self, kind == "implicit", "distribution implicit", "acting_taus", "taus", "target_taus")
        check_used(self, kind != "categorical", "a Huber loss (distribution categorical has none)", "huber_delta")
        munchausen = ("munchausen_alpha", "munchausen_temperature", "munchausen_low")
        check_used(self, self.munchausen, "munchausen", *munchausen)
        check_used(self, self.prioritized, "prioritized", "priority_exponent", "priority_beta")
        if self.munchausen and self.double:
            raise ValueError("double has no meaning with munchausen, which values a softmax policy: --no-double")
        if self.noisy and max(self.epsilon_start, self.epsilon_end) > 0:
            raise ValueError("noisy networks explore by themselves: leave epsilon_start and epsilon_end out, or at 0")


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
        self._epsilon = Linear(
            settings.epsilon_start, settings.epsilon_end, settings.epsilon_steps, begin=settings.learning_starts
        )

    # Acting

    @property
    def num_actions(self) -> int:
        """A."""
        return self.network.num_actions

    def act(self, timestep: TimeStep, step: int) -> np.ndarray:
        """Actions `[N]` while learning: at random at first, then of greatest value but for what explores."""
        action = super().act(timestep, step)
        if step < self.settings.learning_starts:
            return action
        return with_random(action, self.num_actions, self._epsilon(step), self._rng)

    def _choose(self, obs: Tensor) -> Tensor:
        """Actions of greatest value, by a network that is noisy if it can be."""
        self._acting_noise.draw()
        self._acting_noise.switch(on=True)
        action = self._forward(self.acting, obs).q_values.argmax(1)
        self._acting_noise.switch(on=False)
        return action

    def policy(self, rng: np.random.Generator) -> Policy:
        """What evaluation plays: actions of greatest value, a share of `eval_epsilon` at random, without noise."""
        return make_policy(self.acting, rng, self.learner.autocast, epsilon=self.settings.eval_epsilon)

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
        figures = {"train/q_mean": outputs.q_values.mean(), "train/td_error": losses.error.abs().mean()}
        if self.settings.loss_reduction == "sum":
            return Losses(loss.sum() * self.learner.ranks.number, losses.priority, figures)  # gradients are averaged
        return Losses(loss.mean(), losses.priority, figures)

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

    def figures(self, step: int) -> dict[str, float]:
        """Scalars by TensorBoard tag, and the share of random actions."""
        epsilon = 1.0 if step < self.settings.learning_starts else self._epsilon(step)
        return {**super().figures(step), "rollout/exploration_rate": epsilon}
