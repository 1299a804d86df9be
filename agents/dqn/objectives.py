"""Losses of the DQN family: how far a network's values, or return distributions, are from their targets."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from agents.dqn.bootstraps import Bootstrap
from agents.losses.distributional import (
    categorical_projection,
    categorical_targets,
    cross_entropy,
    quantile_huber,
    quantile_targets,
)
from agents.losses.losses import huber
from agents.losses.value import expected_target


class Losses(NamedTuple):
    """Of a batch of transitions, each `[B]`."""

    loss: Tensor
    priority: Tensor  # how much there is to learn, at least 0 and without gradient
    error: Tensor  # mean target − mean value of the actions taken, without gradient


class ValueLoss(Protocol):
    """A part of an agent that compares what its network says with a target."""

    def taus(self, batch_size: int, generator: torch.Generator, target: bool) -> Tensor | None:
        """Levels `[B, K]` that the learner, or the target network, is asked for; None where it is not asked."""

    def __call__(self, outputs: Any, action: Tensor, bootstrap: Bootstrap, next_outputs: Any) -> Losses:
        """Losses of a batch.

        Args:
            outputs: of the learner's head for the observations.
            action: `[B]` int64.
            bootstrap: what the target takes over.
            next_outputs: of the target network's head for the next observations, without gradient.
        """


class ExpectedLoss(NamedTuple):
    """Huber loss of the mean return (Mnih et al. 2015)."""

    delta: float  # TD error at which the loss turns linear

    def taus(self, batch_size: int, generator: torch.Generator, target: bool) -> None:
        """The network has no levels."""

    def __call__(self, outputs: Any, action: Tensor, bootstrap: Bootstrap, next_outputs: Any) -> Losses:
        """Losses of a batch; priorities are absolute TD errors (Schaul et al. 2016, section 3.3)."""
        error = td_errors(outputs, action, bootstrap, next_outputs)
        return Losses(huber(error, self.delta), error.detach().abs(), error.detach())


class CategoricalLoss(NamedTuple):
    """Cross-entropy to the projected distribution of the return (Bellemare et al. 2017, C51, algorithm 1)."""

    def taus(self, batch_size: int, generator: torch.Generator, target: bool) -> None:
        """The network has no levels."""

    def __call__(self, outputs: Any, action: Tensor, bootstrap: Bootstrap, next_outputs: Any) -> Losses:
        """Losses of a batch; they are the priorities too (Hessel et al. 2018, Rainbow, up to the target's entropy)."""
        atoms, next_probabilities = outputs.atoms, next_outputs.logits.softmax(-1)
        reward, discount, policy, penalty = bootstrap
        future = categorical_targets(reward, discount, atoms, next_probabilities, policy, penalty)
        loss = cross_entropy(taken(outputs.logits, action), categorical_projection(*future, atoms))
        return Losses(loss, loss.detach(), td_errors(outputs, action, bootstrap, next_outputs).detach())


class QuantileLoss(NamedTuple):
    """Quantile Huber loss at fixed levels (Dabney et al. 2018, QR-DQN, equation 10)."""

    delta: float  # error at which it turns linear; 0 is the plain quantile loss

    def taus(self, batch_size: int, generator: torch.Generator, target: bool) -> Tensor | None:
        """The network has levels of its own."""
        return None

    def __call__(self, outputs: Any, action: Tensor, bootstrap: Bootstrap, next_outputs: Any) -> Losses:
        """Losses of a batch; they are the priorities too."""
        reward, discount, policy, penalty = bootstrap
        targets = quantile_targets(reward, discount, next_outputs.quantiles, policy, penalty)
        loss = quantile_huber(taken(outputs.quantiles, action), outputs.taus, targets, self.delta)
        return Losses(loss, loss.detach(), td_errors(outputs, action, bootstrap, next_outputs).detach())


class ImplicitQuantileLoss(NamedTuple):
    """Quantile Huber loss at levels drawn for each transition (Dabney et al. 2018, IQN, equation 3)."""

    delta: float  # error at which it turns linear
    samples: int  # N, levels of the learner
    target_samples: int  # N', levels of the target network

    def taus(self, batch_size: int, generator: torch.Generator, target: bool) -> Tensor:
        """Uniform levels `[B, N]` of the learner, or `[B, N']` of the target network."""
        number = self.target_samples if target else self.samples
        return torch.rand(batch_size, number, generator=generator, device=generator.device)

    def __call__(self, outputs: Any, action: Tensor, bootstrap: Bootstrap, next_outputs: Any) -> Losses:
        """Losses of a batch; they are the priorities too."""
        return QuantileLoss(self.delta)(outputs, action, bootstrap, next_outputs)


def taken(values: Tensor, action: Tensor) -> Tensor:
    """Of `values` `[B, A, ...]`, those of the actions `[B]`: `[B, ...]`."""
    return values[torch.arange(len(action), device=action.device), action]


def td_errors(outputs: Any, action: Tensor, bootstrap: Bootstrap, next_outputs: Any) -> Tensor:
    """Mean target − mean value of the actions taken, `[B]`; no gradient enters the target."""
    reward, discount, policy, penalty = bootstrap
    target = expected_target(reward, discount, next_outputs.q_values, policy, penalty)
    return target.detach() - taken(outputs.q_values, action)
