"""Soft actor-critics for discrete actions: a policy, and several Q networks that learn beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wnrl.networks.heads import output_layers
from wnrl.networks.policy_heads import CategoricalPolicy, PolicyHead
from wnrl.networks.q_network import PLAIN, Architecture, QNetwork, draw_q_network, make_torso, normalize_each, seeded


class SoftActorCriticValues(NamedTuple):
    """What a soft actor-critic says of a batch of observations."""

    policy: CategoricalPolicy
    values: Tensor  # [critics, B, A] float32, of the actions


class PolicyNetwork(nn.Module):
    """A torso with a policy on its features.

    Args:
        torso: maps observations `[B, *obs_shape]` to features `[B, F]`.
        head: the policy.
    """

    def __init__(self, torso: nn.Module, head: PolicyHead) -> None:
        super().__init__()
        self.torso = torso
        self.head = head

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The layers that make the outputs."""
        return self.head.output_layers

    def forward(self, obs: Tensor) -> CategoricalPolicy:
        """The policy for observations `[B, *obs_shape]`."""
        return self.head(self.torso(obs))


class SoftActorCritic(nn.Module):
    """A policy and its critics (Christodoulou 2019, "Soft Actor-Critic for Discrete Action Settings"), apart.

    Args:
        policy: observations `[B, *obs_shape]` to a `CategoricalPolicy`, a `PolicyNetwork`.
        critics: Q networks, usually two (section 4 there).

    Raises:
        ValueError: no critic.
    """

    def __init__(self, policy: nn.Module, critics: Sequence[QNetwork]) -> None:
        super().__init__()
        if not critics:
            raise ValueError("a soft actor-critic needs a critic, got none")
        self.policy = policy
        self.critics = nn.ModuleList(critics)

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The layers that make the outputs."""
        return tuple(layer for network in (self.policy, *self.critics) for layer in output_layers(network))

    def forward(self, obs: Tensor) -> SoftActorCriticValues:
        """Policy and values of all critics for observations `[B, *obs_shape]`."""
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
    """A soft actor-critic for observations of that shape, drawn from `seed` alone; then each network is normalized.

    Args:
        obs_shape: of one observation.
        num_actions: A.
        hidden: widths of each network's fully connected layers; torsos for images have exactly one.
        architecture: everything else that the networks are made of; dueling and distributions are the critics'.
        norm: the normalizer's name; a normalizer of one layer takes one in each network.
        seed: of the initial parameters; the global generators are left as they were.
        critics: how many Q networks.
        options: further arguments of `wnrl.normalize`.

    Raises:
        ValueError: no critic, or as `q_network`.
    """
    with seeded(seed):
        torso = make_torso(obs_shape, hidden, architecture)
        policy = PolicyNetwork(torso, PolicyHead(torso.out_features, num_actions, architecture.layer))
        q_networks = [draw_q_network(obs_shape, num_actions, hidden, architecture) for _ in range(critics)]
    network = SoftActorCritic(policy, q_networks)
    normalize_each(network, [policy, *q_networks], norm, **options)
    return network
