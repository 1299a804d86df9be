"""What an agent of the DQN family learns from a batch, as functions of tensors.

A bootstrap rule says what the targets take from the next observation; a value loss compares the network's outputs with
these targets. To add a rule: a class here, its flags in `agents.settings.dqn`, and, where it excludes a flag that a
preset sets, `agents.settings.presets.dqn.preset`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from agents.losses.distributional import (
    categorical_projection,
    categorical_targets,
    cross_entropy,
    quantile_huber,
    quantile_targets,
)
from agents.losses.value import expected_target, greedy, huber, munchausen_bonus, softmax_policy, td_error
from agents.settings.dqn import DQNSettings
from wnrl.replay.uniform import Transition

# Bootstrap rules


class Bootstrap(NamedTuple):
    """A target before the values of the next observation are put in."""

    reward: Tensor  # [B]
    discount: Tensor  # [B]
    policy: Tensor  # [B, A], of the next observation's actions
    penalty: Tensor | None  # [B, A], subtracted from the next observation's values; None: nothing


class BootstrapRule(Protocol):
    """The policy whose value the targets take from the next observation."""

    uses_next_q: ClassVar[bool]
    """Whether it takes the learner's values of the next observation."""
    uses_target_q: ClassVar[bool]
    """Whether it takes the target network's values of the observation itself."""

    def __call__(
        self, batch: Transition, next_target_q: Tensor, next_q: Tensor | None, target_q: Tensor | None
    ) -> Bootstrap:
        """The bootstrap of a batch.

        Args:
            batch: of transitions.
            next_target_q: `[B, A]`, values of the next observations by the target network.
            next_q: `[B, A]`, values of the next observations by the learner; None where they are not used.
            target_q: `[B, A]`, values of the observations by the target network; None where they are not used.
        """


class GreedyBootstrap:
    """The target network selects and evaluates the next action (Mnih et al. 2015)."""

    uses_next_q: ClassVar[bool] = False
    uses_target_q: ClassVar[bool] = False

    def __call__(
        self, batch: Transition, next_target_q: Tensor, next_q: Tensor | None, target_q: Tensor | None
    ) -> Bootstrap:
        """The bootstrap of a batch."""
        return Bootstrap(batch.reward, batch.discount, greedy(next_target_q), None)


class DoubleBootstrap:
    """The learner selects the next action, the target network evaluates it (van Hasselt et al. 2016, equation 4)."""

    uses_next_q: ClassVar[bool] = True
    uses_target_q: ClassVar[bool] = False

    def __call__(
        self, batch: Transition, next_target_q: Tensor, next_q: Tensor | None, target_q: Tensor | None
    ) -> Bootstrap:
        """The bootstrap of a batch."""
        assert next_q is not None
        return Bootstrap(batch.reward, batch.discount, greedy(next_q), None)


@dataclass(frozen=True)
class MunchausenBootstrap:
    """The softmax policy of the target network, and its log-probability as a reward (Vieillard et al. 2020, M-DQN).

    Over several steps the bonus is that of the first action alone.
    """

    temperature: float  # of the softmax policy, in units of a return
    alpha: float  # scale of the log-probability that is added to the reward
    low: float  # lower bound of the bonus before `alpha`

    uses_next_q: ClassVar[bool] = False
    uses_target_q: ClassVar[bool] = True

    def __call__(
        self, batch: Transition, next_target_q: Tensor, next_q: Tensor | None, target_q: Tensor | None
    ) -> Bootstrap:
        """The bootstrap of a batch."""
        assert target_q is not None
        bonus = munchausen_bonus(target_q, batch.action, temperature=self.temperature, alpha=self.alpha, low=self.low)
        policy, log_policy = softmax_policy(next_target_q, self.temperature)
        return Bootstrap(batch.reward + bonus, batch.discount, policy, self.temperature * log_policy)


# Value losses


class ValueLosses(NamedTuple):
    """Of a batch of transitions, each `[B]`."""

    loss: Tensor
    priority: Tensor  # at least 0, without gradient
    error: Tensor  # TD error: mean target − mean value of the actions taken, without gradient


class ValueLoss(Protocol):
    """Compares a network's outputs with a target."""

    def __call__(self, outputs: Any, action: Tensor, bootstrap: Bootstrap, next_outputs: Any) -> ValueLosses:
        """Losses of a batch.

        Args:
            outputs: of the learner's head for the observations.
            action: `[B]` int64.
            bootstrap: of the batch.
            next_outputs: of the target network's head for the next observations, without gradient.
        """


@dataclass(frozen=True)
class ExpectedLoss:
    """Huber loss of the expected return (Mnih et al. 2015)."""

    delta: float  # TD error at which the loss turns linear

    def __call__(self, outputs: Any, action: Tensor, bootstrap: Bootstrap, next_outputs: Any) -> ValueLosses:
        """Losses of a batch; priorities are absolute TD errors (Schaul et al. 2016, section 3.3)."""
        error = td_errors(outputs, action, bootstrap, next_outputs)
        return ValueLosses(huber(error, self.delta), error.detach().abs(), error.detach())


@dataclass(frozen=True)
class CategoricalLoss:
    """Cross-entropy to the projected distribution of the return (Bellemare et al. 2017, C51, algorithm 1)."""

    def __call__(self, outputs: Any, action: Tensor, bootstrap: Bootstrap, next_outputs: Any) -> ValueLosses:
        """Losses of a batch; they are the priorities too (Hessel et al. 2018, Rainbow, up to the target's entropy)."""
        atoms, next_probabilities = outputs.atoms, next_outputs.logits.softmax(-1)
        reward, discount, policy, penalty = bootstrap
        targets = categorical_targets(reward, discount, atoms, next_probabilities, policy, penalty)
        loss = cross_entropy(of_actions(outputs.logits, action), categorical_projection(*targets, atoms))
        return ValueLosses(loss, loss.detach(), td_errors(outputs, action, bootstrap, next_outputs).detach())


@dataclass(frozen=True)
class QuantileLoss:
    """Quantile Huber loss at fixed levels (Dabney et al. 2018a, QR-DQN, eq. 10) or sampled ones (2018b, IQN, eq. 3)."""

    delta: float  # error at which it turns linear; 0 is the plain quantile loss

    def __call__(self, outputs: Any, action: Tensor, bootstrap: Bootstrap, next_outputs: Any) -> ValueLosses:
        """Losses of a batch; they are the priorities too."""
        reward, discount, policy, penalty = bootstrap
        targets = quantile_targets(reward, discount, next_outputs.quantiles, policy, penalty)
        loss = quantile_huber(of_actions(outputs.quantiles, action), outputs.taus, targets, self.delta)
        return ValueLosses(loss, loss.detach(), td_errors(outputs, action, bootstrap, next_outputs).detach())


def of_actions(values: Tensor, action: Tensor) -> Tensor:
    """Of `values` `[B, A, ...]`, those of the actions `[B]`: `[B, ...]`."""
    return values[torch.arange(len(action), device=action.device), action]


def td_errors(outputs: Any, action: Tensor, bootstrap: Bootstrap, next_outputs: Any) -> Tensor:
    """Mean target − mean value of the actions taken, `[B]`; no gradient enters the target."""
    reward, discount, policy, penalty = bootstrap
    target = expected_target(reward, discount, next_outputs.q_values, policy, penalty)
    return td_error(outputs.q_values, action, target)


# Together


@dataclass(frozen=True)
class Objective:
    """What an agent learns from a batch."""

    bootstrap: BootstrapRule
    value_loss: ValueLoss

    def __call__(
        self,
        batch: Transition,
        outputs: Any,
        next_outputs: Any,
        *,
        next_q: Tensor | None = None,
        target_q: Tensor | None = None,
        policy_q: Tensor | None = None,
    ) -> ValueLosses:
        """Losses of a batch.

        Args:
            batch: of transitions.
            outputs: of the learner's head for the observations.
            next_outputs: of the target network's head for the next observations, without gradient.
            next_q: `[B, A]`, values of the next observations by the learner, where the bootstrap rule uses them.
            target_q: `[B, A]`, values of the observations by the target network, where the bootstrap rule uses them.
            policy_q: `[B, A]`, values of the next observations by the target network, of which the bootstrap rule
                makes its policy; None takes those of `next_outputs`.
        """
        policy_q = next_outputs.q_values if policy_q is None else policy_q
        bootstrap = self.bootstrap(batch, policy_q, next_q, target_q)
        return self.value_loss(outputs, batch.action, bootstrap, next_outputs)


def make_objective(settings: DQNSettings) -> Objective:
    """The objective that the settings ask for."""
    losses: dict[str, ValueLoss] = {
        "none": ExpectedLoss(settings.huber_delta),
        "categorical": CategoricalLoss(),
        "quantile": QuantileLoss(settings.huber_delta),
        "implicit": QuantileLoss(settings.huber_delta),
    }
    rule: BootstrapRule = DoubleBootstrap() if settings.double else GreedyBootstrap()
    if settings.munchausen:
        rule = MunchausenBootstrap(settings.munchausen_temperature, settings.munchausen_alpha, settings.munchausen_low)
    return Objective(rule, losses[settings.distribution])
