"""Soft actor-critics for discrete actions: a policy and several Q networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wnrl.networks.architecture import PLAIN, Architecture, make_torso, normalize_each, seeded
from wnrl.networks.heads import output_layers
from wnrl.networks.policy_heads import CategoricalPolicy, PolicyHead
from wnrl.networks.q_network import QNetwork, draw_q_network


class SoftActorCriticValues(NamedTuple):
    """The outputs of a soft actor-critic for a batch of observations."""

    policy: CategoricalPolicy
    values: Tensor  # [critics, B, A] float32, action values


class PolicyNetwork(nn.Module):
    """A torso and a policy head.

    Args:
        torso: maps observations `[B, *obs_shape]` to features `[B, F]`.
        head: gives the policy.
    """

    def __init__(self, torso: nn.Module, head: PolicyHead) -> None:
        super().__init__()
        self.torso = torso
        self.head = head

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The layers that compute the outputs."""
        return self.head.output_layers

    def forward(self, obs: Tensor) -> CategoricalPolicy:
        """The policy for observations `[B, *obs_shape]`."""
        return self.head(self.torso(obs))


class SoftActorCritic(nn.Module):
    """A policy and its critics as separate networks (Christodoulou 2019, "SAC for Discrete Action Settings").

    Args:
        policy: a `PolicyNetwork`, from observations `[B, *obs_shape]` to a `CategoricalPolicy`.
        critics: Q networks, usually two (section 4 there).

    Raises:
        ValueError: there is no critic.
    """

    def __init__(self, policy: nn.Module, critics: Sequence[QNetwork]) -> None:
        super().__init__()
        if not critics:
            raise ValueError("a soft actor-critic needs a critic, got none")
        self.policy = policy
        self.critics = nn.ModuleList(critics)

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The layers that compute the outputs."""
        return tuple(layer for network in (self.policy, *self.critics) for layer in output_layers(network))

    def forward(self, obs: Tensor) -> SoftActorCriticValues:
        """The policy, and the values of all critics, for observations `[B, *obs_shape]`."""
        return SoftActorCriticValues(self.policy(obs), torch.stack([critic(obs).q_values for critic in self.critics]))


def soft_actor_critic(
    obs_shape: Sequence[int],
    num_actions: int,
    *,
    hidden: Sequence[int] = (256, 256),
    architecture: Architecture = PLAIN,
    norm: str = "none",
    seed: int = 0,
    critics: int = 2,
    **options: Any,
) -> SoftActorCritic:
    """A soft actor-critic, its parameters drawn from `seed` alone, after which each of its networks is normalized.

    Args:
        obs_shape: shape of one observation.
        num_actions: A.
        hidden: widths of each network's fully connected layers; torsos for images have exactly one.
        architecture: what else the networks are made of; dueling streams and distributions are for the critics.
        norm: name of the normalizer; one of the last hidden layer only is applied in each network.
        seed: of the initial parameters; the global generators are not changed.
        critics: number of Q networks.
        options: further arguments of `wnrl.normalize`.

    Raises:
        ValueError: there is no critic, or as `q_network`.
    """
    with seeded(seed):
        torso = make_torso(obs_shape, hidden, architecture)
        policy = PolicyNetwork(torso, PolicyHead(torso.out_features, num_actions, architecture.layer))
        q_networks = [draw_q_network(obs_shape, num_actions, hidden, architecture) for _ in range(critics)]
    network = SoftActorCritic(policy, q_networks)
    normalize_each(network, [policy, *q_networks], norm, **options)
    return network
