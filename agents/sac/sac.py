"""Discrete soft actor-critic (Christodoulou 2019): a policy that follows several Q networks and keeps its entropy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from agents.learner.learner import Learner
from agents.losses.policy import sac_policy_loss, soft_value, temperature_loss
from agents.losses.value import td_error
from agents.off_policy.replay_agent import ReplayAgent, RowDraws
from agents.off_policy.update import BatchLoss, Sample, Sampler
from agents.settings.sac import SACSettings
from wnrl.networks.soft_actor_critic import SoftActorCriticValues
from wnrl.replay.uniform import Transition


class LearnedTemperature(nn.Module):
    """A temperature that falls while the policy's entropy is above a target, and rises below it.

    Haarnoja et al. 2018 ("Soft Actor-Critic Algorithms and Applications", section 5), for discrete actions
    Christodoulou 2019, equation 11.

    Args:
        start: the temperature before it has learned, above 0.
        target_entropy: in nats.
    """

    def __init__(self, start: float, target_entropy: float) -> None:
        super().__init__()
        self.target_entropy = target_entropy
        self.log = nn.Parameter(torch.tensor(math.log(start)))

    def forward(self) -> Tensor:
        """The temperature, 0-dim, without gradient."""
        return self.log.detach().exp()

    def loss(self, log_policy: Tensor) -> Tensor:
        """What the temperature itself learns from log π `[B, A]` of a batch: `[B]`."""
        return temperature_loss(self.log, log_policy, self.target_entropy)


class FixedTemperature(nn.Module):
    """A temperature that stays.

    Args:
        value: the temperature, at least 0.
    """

    value: Tensor

    def __init__(self, value: float) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(value))

    def forward(self) -> Tensor:
        """The temperature, 0-dim."""
        return self.value

    def loss(self, log_policy: Tensor) -> Tensor:
        """Nothing is learned: 0 for each of log π `[B, A]`, `[B]`."""
        return log_policy.new_zeros(len(log_policy))


class SACAgent(ReplayAgent):
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

    def _draw_own(self, number: int, step: int) -> RowDraws:
        return RowDraws(None, (self.acting.head.noise(number, self._generator),))

    def _choose(self, obs: Tensor, *noise: Tensor) -> Tensor:
        """Actions drawn from the policy."""
        with self.learner.autocast():
            policy = self.acting(obs)
        return policy.sample_by(*noise)

    @property
    def evaluation_options(self) -> dict[str, Any]:
        """The most probable actions, or sampled ones, as the settings say."""
        return {"sample": self.settings.eval_sample}

    # Learning

    def batch_loss(self, sample: Sample, next_outputs: None, draws: Any = None) -> BatchLoss:
        """The loss of a batch, for which nothing is drawn; never waits for the device."""
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
        metrics = {
            "train/q_mean": outputs.values.mean(),
            "train/td_error": error.abs().mean(),
            "train/critic_loss": critic_loss.mean(),
            "train/policy_loss": policy_loss.mean(),
            "train/entropy": outputs.policy.entropy().mean(),
            "train/temperature": temperature,
        }
        return BatchLoss(loss.mean(), error.detach().abs().mean(0), metrics)

    @torch.no_grad()
    def _targets(self, batch: Transition, temperature: Tensor) -> Tensor:
        """Reward + discount × soft value of the next observation (Christodoulou 2019, equation 10), `[B]`.

        The policy is the learner's in evaluation mode.
        """
        self.network.policy.eval()
        with self.learner.autocast():
            log_policy = self.network.policy(batch.next_obs).logits.log_softmax(1)
            values = torch.stack([critic(batch.next_obs).q_values for critic in self.target])  # [critics, B, A]
        self.network.policy.train()
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
