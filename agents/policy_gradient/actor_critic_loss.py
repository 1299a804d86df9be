"""The loss of an actor-critic on a minibatch: the weighted sum of a policy loss, a value loss and an entropy bonus."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from agents.losses.policy import masked_means, normalize_advantages, policy_gradient_loss, value_loss
from agents.policy_gradient.actors import ActorCriticMinibatch
from wnrl.networks.actor_critic import ActorCriticValues


class LossWeights(NamedTuple):
    """Coefficients of the value loss and of the entropy bonus; the policy loss has 1."""

    value: float
    entropy: float


def actor_critic_loss(
    outputs: ActorCriticValues, batch: ActorCriticMinibatch, weights: LossWeights, *, normalize: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of A2C and REINFORCE (Mnih et al. 2016, section 4; Williams 1992), and its metrics.

    Args:
        outputs: of the learner's network for the minibatch.
        batch: what was done there.
        weights: of the value loss and the entropy.
        normalize: whether the minibatch's advantages are normalized.
    """
    log_prob = outputs.policy.log_prob(batch.action).flatten()
    policy = policy_gradient_loss(log_prob, advantages_of(batch, normalize=normalize))
    value = value_loss(outputs.value.flatten(), batch.target.flatten())
    return weighted_loss(policy, value, outputs, batch, weights)


def advantages_of(batch: ActorCriticMinibatch, *, normalize: bool) -> Tensor:
    """The advantages `[B]` of a minibatch, normalized if that is asked for."""
    advantage = batch.advantage.flatten()
    return normalize_advantages(advantage, batch.valid.flatten()) if normalize else advantage


def weighted_loss(
    policy: Tensor, value: Tensor, outputs: ActorCriticValues, batch: ActorCriticMinibatch, weights: LossWeights
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean policy loss + w_value × mean value loss − w_entropy × mean entropy, over valid steps, and its metrics.

    Args:
        policy: policy losses `[B]` of the steps.
        value: value losses `[B]`.
        outputs: of the learner's network, with the entropy of its policy.
        batch: which of its steps are valid.
        weights: w_value and w_entropy.
    """
    valid = batch.valid.flatten()
    terms = torch.stack((policy, value, outputs.policy.entropy().flatten()))
    policy, value, entropy = masked_means(terms, valid).unbind()
    metrics = {"train/policy_gradient_loss": policy, "train/value_loss": value, "train/entropy_loss": -entropy}
    return policy + weights.value * value - weights.entropy * entropy, metrics
