"""Targets of value learning: pure functions of batched tensors."""

from __future__ import annotations

from torch import Tensor


def q_target(reward: Tensor, discount: Tensor, next_q: Tensor) -> Tensor:
    """Target of Q learning (Mnih et al. 2015, equation 2): reward + discount × max over actions.

    Args:
        reward: `[B]`, n-step return without the bootstrap.
        discount: `[B]`, 0 at termination, γⁿ otherwise.
        next_q: `[B, A]`, values of the next observation by the target network.

    Returns:
        `[B]`.

    Raises:
        ValueError: a rank or a batch size differs from these.
    """
    return double_q_target(reward, discount, next_q, next_q)


def double_q_target(reward: Tensor, discount: Tensor, next_q_learner: Tensor, next_q_target: Tensor) -> Tensor:
    """Target of double Q learning (van Hasselt et al. 2016, equation 4): the learner chooses, the target values.

    Args:
        reward: `[B]`, n-step return without the bootstrap.
        discount: `[B]`, 0 at termination, γⁿ otherwise.
        next_q_learner: `[B, A]`, values of the next observation by the learner.
        next_q_target: `[B, A]`, values of the next observation by the target network.

    Returns:
        `[B]`.

    Raises:
        ValueError: a rank or a batch size differs from these.
    """
    if next_q_learner.ndim != 2 or next_q_learner.shape != next_q_target.shape:
        shapes = [tuple(next_q_learner.shape), tuple(next_q_target.shape)]
        raise ValueError(f"next Q values have shape [B, A], got {shapes}")
    if reward.shape != discount.shape or reward.shape != next_q_target.shape[:1]:
        raise ValueError(f"reward and discount have shape [B], got {tuple(reward.shape)} and {tuple(discount.shape)}")
    choice = next_q_learner.argmax(1, keepdim=True)
    return reward + discount * next_q_target.gather(1, choice).squeeze(1)
