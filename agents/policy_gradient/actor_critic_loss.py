"""The loss of an actor-critic on a minibatch: policy, value and entropy, weighted and added up."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from agents.losses.policy import (
    approximate_kl,
    clip_fraction,
    clipped_surrogate,
    clipped_value_loss,
    masked_mean,
    normalize,
    policy_gradient_loss,
    value_loss,
)
from agents.policy_gradient.actors import Minibatch
from wnrl.networks.actor_critic import ActorCriticValues


class Weights(NamedTuple):
    """Of the parts of the loss beside the policy's."""

    value: float
    entropy: float


def policy_gradient(
    outputs: ActorCriticValues, batch: Minibatch, weights: Weights, normalize_advantage: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of A2C and REINFORCE (Mnih et al. 2016, section 4; Williams 1992), and its metrics.

    Args:
        outputs: of the learner's network.
        batch: what it was evaluated on.
        weights: of the parts.
        normalize_advantage: shift and scale the advantages of the minibatch.
    """
    log_prob, valid = outputs.policy.log_prob(batch.action).flatten(), batch.valid.flatten()
    policy = masked_mean(policy_gradient_loss(log_prob, _advantage(batch, normalize_advantage)), valid)
    value = masked_mean(value_loss(outputs.value.flatten(), batch.target.flatten()), valid)
    return _total(policy, value, outputs, valid, weights)


def proximal(
    outputs: ActorCriticValues,
    batch: Minibatch,
    weights: Weights,
    normalize_advantage: bool,
    clip: float | Tensor,
    value_clip: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of PPO (Schulman et al. 2017, equation 9), and its metrics.

    Args:
        outputs: of the learner's network.
        batch: what it was evaluated on.
        weights: of the parts.
        normalize_advantage: shift and scale the advantages of the minibatch.
        clip: how far the ratio of probabilities may move from 1 with profit.
        value_clip: how far values may move, in units of value; 0 does not limit them.
    """
    log_prob, old = outputs.policy.log_prob(batch.action).flatten(), batch.log_prob.flatten()
    valid, target, values = batch.valid.flatten(), batch.target.flatten(), outputs.value.flatten()
    policy = masked_mean(clipped_surrogate(log_prob, old, _advantage(batch, normalize_advantage), clip), valid)
    losses = clipped_value_loss(values, batch.value.flatten(), target, value_clip) if value_clip else None
    value = masked_mean(value_loss(values, target) if losses is None else losses, valid)
    loss, metrics = _total(policy, value, outputs, valid, weights)
    kl = masked_mean(approximate_kl(log_prob.detach(), old), valid)
    clipped = masked_mean(clip_fraction(log_prob.detach(), old, clip), valid)
    return loss, {**metrics, "train/approx_kl": kl, "train/clip_fraction": clipped}


def _advantage(batch: Minibatch, normalized: bool) -> Tensor:
    advantage = batch.advantage.flatten()
    return normalize(advantage, batch.valid.flatten()) if normalized else advantage


def _total(
    policy: Tensor, value: Tensor, outputs: ActorCriticValues, valid: Tensor, weights: Weights
) -> tuple[Tensor, dict[str, Tensor]]:
    entropy = masked_mean(outputs.policy.entropy().expand(outputs.value.shape).flatten(), valid)
    metrics = {"train/policy_gradient_loss": policy, "train/value_loss": value, "train/entropy_loss": -entropy}
    return policy + weights.value * value - weights.entropy * entropy, metrics
