"""Temperatures: what an agent pays for a nat of its policy's entropy, in units of a return."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from agents.losses.policy import temperature_loss


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
