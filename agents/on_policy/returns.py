"""Returns and advantages over a rollout, time-major: pure functions of `[T, N]` tensors.

A rollout is T rows of N environments. `reward[t]` and `discount[t]` belong to the transition from row t to row t + 1.
The last row of an episode has no transition: there `valid[t]` is False, row t + 1 is the first of another episode, and
all other entries of row t are ignored.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.losses.shapes import check_shapes


def generalized_advantages(
    reward: Tensor,
    discount: Tensor,
    value: Tensor,
    next_value: Tensor,
    valid: Tensor,
    *,
    gamma: float,
    lambda_: float,
) -> Tensor:
    """Generalized advantage estimates (Schulman et al. 2016, equation 16), which never cross an episode's end.

    Args:
        reward: `[T, N]`.
        discount: `[T, N]`, 0 where the transition terminated, 1 otherwise; truncation is not termination.
        value: `[T, N]`, value of row t.
        next_value: `[T, N]`, value of row t + 1, which at an episode's end is its true final observation.
        valid: `[T, N]` bool, False where row t is an episode's last.
        gamma: γ.
        lambda_: λ; 0 gives the one-step TD error, 1 the Monte Carlo return − value.

    Returns:
        `[T, N]`, 0 at invalid rows.

    Raises:
        ValueError: the shapes differ.
    """
    shapes = "[T, N], [T, N], [T, N], [T, N], [T, N]"
    check_shapes("generalized_advantages", shapes, reward, discount, value, next_value, valid)
    step_discount = gamma * discount
    error = reward + step_discount * next_value - value
    advantage = torch.zeros_like(error[0])
    advantages = []
    for t in reversed(range(len(error))):
        advantage = torch.where(valid[t], error[t] + lambda_ * step_discount[t] * advantage, 0.0)
        advantages.append(advantage)
    return torch.stack(advantages[::-1])


def lambda_returns(
    reward: Tensor, discount: Tensor, next_value: Tensor, valid: Tensor, *, gamma: float, lambda_: float
) -> Tensor:
    """λ-returns (Sutton & Barto 2018, equation 12.18; of Q(λ) in PQN, Gallici et al. 2024), within an episode.

    R[t] = r + γ d ((1 − λ) next_value[t] + λ R[t + 1]), where R[t + 1] is next_value[t] at the end of the rollout
    and of an episode.

    Args:
        reward: `[T, N]`.
        discount: `[T, N]`, 0 where the transition terminated, 1 otherwise; truncation is not termination.
        next_value: `[T, N]`, value of row t + 1, which at an episode's end is its true final observation; with the
            greatest action value these are the returns of Q(λ).
        valid: `[T, N]` bool, False where row t is an episode's last.
        gamma: γ.
        lambda_: λ; 0 gives one-step targets, 1 sums of rewards to the end of the episode or rollout, and its bootstrap.

    Returns:
        `[T, N]`, 0 at invalid rows.

    Raises:
        ValueError: the shapes differ.
    """
    check_shapes("lambda_returns", "[T, N], [T, N], [T, N], [T, N]", reward, discount, next_value, valid)
    step_discount = gamma * discount
    later = next_value[-1]  # R[t + 1], or next_value[t] where there is none
    returns = []
    for t in reversed(range(len(reward))):
        bootstrap = torch.lerp(next_value[t], later, lambda_)
        returns.append(torch.where(valid[t], reward[t] + step_discount[t] * bootstrap, 0.0))
        if t:
            later = torch.where(valid[t], returns[-1], next_value[t - 1])
    return torch.stack(returns[::-1])
