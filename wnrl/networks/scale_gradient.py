"""A factor on a gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.scale, None


def scale_gradient(x: Tensor, scale: float) -> Tensor:
    """`x` itself, whose gradient is multiplied by `scale` on the way back.

    Args:
        x: any shape.
        scale: the factor.

    Returns:
        The same values and shape.
    """
    return _ScaleGradient.apply(x, scale)
