"""Targets and losses of value learning: pure functions of batched tensors, one number per sample.

What every update enters compares shapes in place, and calls `check_shapes` for the error.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from agents.losses.shapes import check_shapes


def expected_target(
    reward: Tensor, discount: Tensor, next_values: Tensor, policy: Tensor, penalty: Tensor | None = None
) -> Tensor:
    """Target under a policy: reward + discount × Σ_a π(a) (q(a) − penalty(a)).

    A `greedy` policy of these values gives the target of Q-learning (Mnih et al. 2015, equation 2), one of
    the learner's values that of double Q-learning (van Hasselt et al. 2016, equation 4). Any other policy gives
    expected Sarsa (van Seijen et al. 2009), with penalty τ log π soft DQN (Vieillard et al. 2020, section 2), and with
    `munchausen_bonus` added to the reward Munchausen DQN.

    Args:
        reward: `[B]`, n-step return without the bootstrap.
        discount: `[B]`, 0 at termination, γⁿ otherwise.
        next_values: `[B, A]`, values of the next observation by the target network.
        policy: `[B, A]`, probabilities of the actions in the next observation.
        penalty: `[B, A]`, τ log π; None is 0.

    Returns:
        `[B]`.

    Raises:
        ValueError: a rank or a size differs from these.
    """
    if policy.ndim != 2 or not (
        policy.shape == next_values.shape and reward.shape == discount.shape == policy.shape[:1]
    ):
        check_shapes("expected_target", "[B], [B], [B, A], [B, A]", reward, discount, next_values, policy)
    if penalty is not None:
        check_shapes("the penalty of expected_target", "[B, A], [B, A]", penalty, policy)
        next_values = next_values - penalty
    return reward + discount * (policy * next_values).sum(1)


def greedy(q_values: Tensor) -> Tensor:
    """The policy that takes the action of the greatest value, the first of equals.

    Args:
        q_values: `[B, A]`.

    Returns:
        `[B, A]` of the same dtype, 1 at that action and 0 elsewhere.

    Raises:
        ValueError: the rank differs.
    """
    if q_values.ndim != 2:
        check_shapes("greedy", "[B, A]", q_values)
    return torch.zeros_like(q_values).scatter(1, q_values.argmax(1, keepdim=True), 1.0)


def softmax_policy(q_values: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The policy softmax(q / τ), and its logarithm, stable at any scale (Vieillard et al. 2020, appendix B).

    Args:
        q_values: `[B, A]`.
        temperature: τ, above 0, in units of value.

    Returns:
        π and log π, `[B, A]` each.

    Raises:
        ValueError: the rank differs, or the temperature is not above 0.
    """
    check_shapes("softmax_policy", "[B, A]", q_values)
    if not temperature > 0:
        raise ValueError(f"the temperature must be above 0, got {temperature}")
    # The maximum leaves before the division: q / τ of large values would round away the differences between actions.
    advantage = q_values - q_values.detach().amax(1, keepdim=True)
    log_policy = (advantage / temperature).log_softmax(1)
    return log_policy.exp(), log_policy


def munchausen_bonus(q_values: Tensor, action: Tensor, *, temperature: float, alpha: float, low: float) -> Tensor:
    """The bonus of Munchausen DQN, α clip(τ log π(a|s), low, 0) (Vieillard et al. 2020, sections 2 and 4).

    Args:
        q_values: `[B, A]`, values of the observation acted on, by the target network.
        action: `[B]` int64, the actions taken there.
        temperature: τ of the softmax policy π, above 0; 0.03 in the paper.
        alpha: scale of the bonus; 0.9 in the paper.
        low: least τ log π, below 0; −1 in the paper.

    Returns:
        `[B]`, between α · low and 0.

    Raises:
        ValueError: a rank or a batch size differs from these, or the temperature is not above 0.
    """
    check_shapes("munchausen_bonus", "[B, A], [B]", q_values, action)
    _, log_policy = softmax_policy(q_values, temperature)
    return alpha * (temperature * log_policy.gather(1, action.unsqueeze(1)).squeeze(1)).clamp(low, 0.0)


def td_error(q_values: Tensor, action: Tensor, target: Tensor) -> Tensor:
    """Temporal-difference error of the actions taken (Mnih et al. 2015, equation 2); no gradient enters the target.

    Args:
        q_values: `[B, A]` of the learner.
        action: `[B]` int64, the actions taken.
        target: `[B]`, reward + discount × value of the next observation.

    Returns:
        `[B]`, target − Q(obs, action).

    Raises:
        ValueError: a rank or a batch size differs from these.
    """
    if q_values.ndim != 2 or not action.shape == target.shape == q_values.shape[:1]:
        check_shapes("td_error", "[B, A], [B], [B]", q_values, action, target)
    return target.detach() - q_values.gather(1, action.unsqueeze(1)).squeeze(1)


def huber(error: Tensor, delta: float = 1.0) -> Tensor:
    """Huber loss of each error: quadratic up to `delta`, linear beyond it (Huber 1964).

    Its gradient is the error clipped to ±delta, which is the "error clipping" of Mnih et al. 2015 (methods).

    Args:
        error: any shape.
        delta: where the slope stops growing; above 0.

    Returns:
        Losses of the same shape.
    """
    return F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=delta)  # in one operation
