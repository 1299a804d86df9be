"""Discrete soft actor-critic (Christodoulou 2019): a policy that follows several Q networks and keeps its entropy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
import tyro
from torch import Tensor

from agents.acting.policies import Policy, make_policy
from agents.learner.learner import Learner, evaluating
from agents.losses.losses import td_error
from agents.losses.policy import sac_policy_loss, soft_value
from agents.off_policy.replay_agent import ReplayAgent
from agents.off_policy.samplers import Sample, Sampler
from agents.off_policy.update import Losses
from agents.sac.temperature import FixedTemperature, LearnedTemperature
from agents.settings.run import (
    LearnerSettings,
    ReplaySettings,
    check_above_zero,
    check_at_least,
    check_shares,
    check_used,
)
from wnrl.networks.soft_actor_critic import SoftActorCriticValues
from wnrl.replay.uniform import Transition

Critic = Literal["min", "mean"]


@dataclass(frozen=True)
class SACSettings(ReplaySettings, LearnerSettings):
    """The numbers of a discrete soft actor-critic; each interval is in environment steps."""

    max_grad_norm: float = 0.0
    """Gradients of policy and critics together are scaled down to this norm; 0 leaves them."""
    temperature: Annotated[float | Literal["auto"], tyro.conf.arg(metavar="{auto}|FLOAT")] = "auto"
    """What a nat of entropy is worth, in units of a return (after reward clipping); auto learns it."""
    temperature_start: float = 1.0
    """Where --temperature auto begins."""
    target_entropy: float = 0.98
    """The entropy that --temperature auto keeps, as a share of that of random play (the logarithm of the actions)."""
    critic: Critic = "min"
    """What policy and targets take from the critics for each action: their least value or their mean."""
    batch_size: int = 64
    """Transitions per update."""
    train_interval: int = 4
    """Steps per update (one update every so many steps, for any number of environments)."""
    learning_starts: int = 20_000
    """Steps of uniformly random play before the first update."""
    replay_size: int = 100_000
    """Transitions that the replay holds, in steps."""
    n_step: int = 1
    """Steps of reward before the target critics' value is used; the entropy of those between does not count."""
    prioritized: bool = False
    """Sample transitions by their last error (prioritized replay)."""
    priority_exponent: float = 0.5
    """How much a transition's error decides how often it is sampled; 0 is not at all."""
    priority_beta: float = 0.4
    """Share of the correction for that in the weights of the critics' losses at the start; it grows to 1 until the
    run's end."""
    target_interval: int = 8_000
    """Steps between two updates of the target critics."""
    tau: float = 1.0
    """Share of the critics that the target critics take over at each of their updates; 1 copies."""
    init_batch: int = 500
    """Observations that --init data looks at."""
    eval_sample: bool = False
    """Draw actions from the policy in evaluation instead of taking the most probable ones."""

    def check(self) -> None:
        """Refuse values out of range, and options that would do nothing."""
        check_at_least(self, 1, "batch_size", "train_interval", "replay_size", "n_step", "target_interval")
        check_at_least(self, 1, "init_batch")
        check_at_least(self, 0, "learning_starts", "priority_exponent")
        check_above_zero(self, "temperature_start")
        check_shares(self, "tau", "priority_beta", "target_entropy")
        automatic = self.temperature == "auto"
        if not automatic:
            check_at_least(self, 0, "temperature")
        check_used(self, automatic, "temperature auto", "temperature_start", "target_entropy")
        check_used(self, self.prioritized, "prioritized", "priority_exponent", "priority_beta")


class SAC(ReplayAgent):
    """A discrete soft actor-critic: a learner that holds `(g, v)`, a folded policy and target critics that hold `w`.

    Policy and critics have no parameter in common, and no loss has a gradient in another's parameters, so that one
    gradient step on the sum of the losses is one on each.

    Args:
        learner: of a `SoftActorCritic`; its optimizer holds the temperature too.
        temperature: on the learner's device.
        sampler: of a replay there, built with the settings' `n_step` and `gamma`.
        settings: the agent's numbers.
        rng: of actions.
    """

    def __init__(
        self,
        learner: Learner,
        temperature: LearnedTemperature | FixedTemperature,
        sampler: Sampler,
        settings: SACSettings,
        *,
        rng: np.random.Generator,
    ) -> None:
        network = cast(Any, learner.network)
        super().__init__(learner, sampler, settings, acts=network.policy, values=network.critics, rng=rng)
        self.temperature = temperature

    # Acting

    @property
    def num_actions(self) -> int:
        """A."""
        return self.acting.head.out_features

    def _choose(self, obs: Tensor) -> Tensor:
        """Actions drawn from the policy."""
        with self.learner.autocast():
            policy = self.acting(obs)
        return policy.sample(self._generator)

    def policy(self, rng: np.random.Generator) -> Policy:
        """What evaluation plays: the most probable actions, or drawn ones, as the settings say."""
        return make_policy(self.acting, rng, self.learner.autocast, sample=self.settings.eval_sample)

    # Learning

    def _losses(self, sample: Sample, foreseen: None) -> Losses:
        """What there is to learn from a batch; never waits for the device."""
        batch, temperature = sample.transition, self.temperature()
        with self.learner.autocast():
            outputs: SoftActorCriticValues = self.network(batch.obs)
        target, log_policy = self._targets(batch, temperature), outputs.policy.logits.log_softmax(1)
        error = torch.stack([td_error(values, batch.action, target) for values in outputs.values])  # [critics, B]
        critic_loss = 0.5 * error.square().sum(0)
        if sample.weights is not None:
            critic_loss = critic_loss * sample.weights
        policy_loss = sac_policy_loss(log_policy, self._judge(outputs.values), temperature)
        loss = critic_loss + policy_loss + self.temperature.loss(log_policy)
        figures = {
            "train/q_mean": outputs.values.mean(),
            "train/td_error": error.abs().mean(),
            "train/critic_loss": critic_loss.mean(),
            "train/policy_loss": policy_loss.mean(),
            "train/entropy": outputs.policy.entropy().mean(),
            "train/temperature": temperature,
        }
        return Losses(loss.mean(), error.detach().abs().mean(0), figures)

    @torch.no_grad()
    def _targets(self, batch: Transition, temperature: Tensor) -> Tensor:
        """Reward + discount × soft value of the next observation (Christodoulou 2019, equation 10), `[B]`.

        The policy is the learner's in evaluation mode.
        """
        with evaluating(self.network.policy), self.learner.autocast():
            log_policy = self.network.policy(batch.next_obs).logits.log_softmax(1)
            values = torch.stack([critic(batch.next_obs).q_values for critic in self.target])  # [critics, B, A]
        return batch.reward + batch.discount * soft_value(log_policy, self._judge(values), temperature)

    def _judge(self, values: Tensor) -> Tensor:
        """What counts, `[B, A]`, of the critics' values `[critics, B, A]`."""
        return values.amin(0) if self.settings.critic == "min" else values.mean(0)

    # What a run keeps

    def get_state(self) -> dict[str, Any]:
        """Everything that the agent needs to go on as if it had not stopped."""
        return {**super().get_state(), "temperature": self.temperature.state_dict()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `get_state`'s state."""
        self.temperature.load_state_dict(state["temperature"])
        super().set_state(state)
