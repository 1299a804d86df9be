"""Heads of actor-critics: policies and state values, always computed in float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wnrl.networks.heads import Head


class CategoricalPolicy(NamedTuple):
    """A categorical distribution over A actions; B may be several leading dimensions."""

    logits: Tensor  # [B, A] float32

    @property
    def num_actions(self) -> int:
        """A."""
        return self.logits.shape[-1]

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability `[B]` of each action `[B]` int64.

        Raises:
            ValueError: `action` has another shape.
        """
        _check_action(action, self.logits.shape[:-1])
        return self.logits.log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """The entropy −Σ p ln p `[B]`, in nats."""
        log_p = self.logits.log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1)

    @torch.no_grad()
    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw actions `[B]` int64, without synchronizing with the device.

        By the Gumbel-max trick: the argmax of logits plus independent Gumbel noise (−ln of an exponential draw) is
        distributed as the policy.

        Args:
            generator: of the draw, on the policy's device; None takes the global one.
        """
        return self.sample_by(torch.empty_like(self.logits).exponential_(generator=generator))

    @torch.no_grad()
    def sample_by(self, noise: Tensor) -> Tensor:
        """The actions `[B]` that `sample` takes with that draw, `[B, A]`; see `PolicyHead.noise`."""
        return (self.logits - noise.log()).argmax(-1)

    def mode(self) -> Tensor:
        """The most probable actions `[B]` int64."""
        return self.logits.argmax(-1)


class GaussianPolicy(NamedTuple):
    """A normal distribution over actions of D independent numbers; B may be several leading dimensions."""

    mean: Tensor  # [B, D] float32
    log_std: Tensor  # [D] float32, the same for every observation

    @property
    def num_actions(self) -> int:
        """0: the actions are not discrete."""
        return 0

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density `[B]` at each action `[B, D]`.

        Raises:
            ValueError: `action` has another shape.
        """
        _check_action(action, self.mean.shape)
        distance = (action - self.mean) * (-self.log_std).exp()  # [B, D] in standard deviations
        return -(0.5 * distance.square() + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """The differential entropy Σ (ln σ + ½ ln 2πe) `[B]`, in nats."""
        entropy = self.log_std + 0.5 * math.log(2 * math.pi * math.e)  # [D]
        return entropy.expand_as(self.mean).sum(-1)

    @torch.no_grad()
    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw actions `[B, D]`, without gradient and without synchronizing with the device.

        Args:
            generator: of the draw, on the policy's device; None takes the global one.
        """
        return self.sample_by(torch.empty_like(self.mean).normal_(generator=generator))

    @torch.no_grad()
    def sample_by(self, noise: Tensor) -> Tensor:
        """The actions `[B, D]` that `sample` takes with that draw, `[B, D]`; see `GaussianPolicyHead.noise`."""
        return self.mean + self.log_std.exp() * noise

    def mode(self) -> Tensor:
        """The actions of highest density `[B, D]`, the means."""
        return self.mean


class PolicyHead(Head):
    """A categorical policy over discrete actions.

    Args:
        in_features: F.
        num_actions: A.
        layer: makes the layer from F and A.
    """

    def __init__(self, in_features: int, num_actions: int, layer: Callable[[int, int], nn.Module] = nn.Linear) -> None:
        super().__init__(layer(in_features, num_actions), num_actions)

    def read(self, outputs: Tensor) -> CategoricalPolicy:
        """The policy whose logits are the outputs `[B, A]`."""
        return CategoricalPolicy(outputs)

    def noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """What `sample` of B policies draws, `[B, A]` on the generator's device, to be used by `sample_by`."""
        return torch.empty(batch_size, self.out_features, device=generator.device).exponential_(generator=generator)


class GaussianPolicyHead(Head):
    """A normal policy over continuous actions, with standard deviations that do not depend on the observation.

    Args:
        in_features: F.
        action_size: D.
        log_std: initial logarithm of the standard deviation of each number.
        layer: makes the layer from F and D.
    """

    def __init__(
        self,
        in_features: int,
        action_size: int,
        log_std: float = 0.0,
        layer: Callable[[int, int], nn.Module] = nn.Linear,
    ) -> None:
        super().__init__(layer(in_features, action_size), action_size)
        self.log_std = nn.Parameter(torch.full((action_size,), log_std))

    def read(self, outputs: Tensor) -> GaussianPolicy:
        """The policy whose means are the outputs `[B, D]`."""
        return GaussianPolicy(outputs, self.log_std)

    def noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """What `sample` of B policies draws, `[B, D]` on the generator's device, to be used by `sample_by`."""
        return torch.empty(batch_size, self.out_features, device=generator.device).normal_(generator=generator)


class ValueHead(Head):
    """The value of a state.

    Args:
        in_features: F.
        layer: makes the layer from F and 1.
    """

    def __init__(self, in_features: int, layer: Callable[[int, int], nn.Module] = nn.Linear) -> None:
        super().__init__(layer(in_features, 1), 1)

    def read(self, outputs: Tensor) -> Tensor:
        """Values `[B]` from the outputs `[B, 1]`."""
        return outputs.squeeze(-1)


def _check_action(action: Tensor, shape: torch.Size) -> None:
    """Refuse actions that would be broadcast silently."""
    if action.shape != shape:
        raise ValueError(f"expected actions of shape {list(shape)}, got {list(action.shape)}")
