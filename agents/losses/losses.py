"""Losses: pure functions of batched tensors that return one error per sample."""

from __future__ import annotations

import torch
from torch import Tensor

from agents.losses.shapes import check_shapes


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
    size = error.abs()
    return torch.where(size <= delta, 0.5 * error.square(), delta * (size - 0.5 * delta))
