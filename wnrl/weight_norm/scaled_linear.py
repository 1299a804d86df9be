"""The weight-normalized product y = g (v/‖v‖)·x + b, scaled after the product so that w is never formed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from wnrl.weight_norm.formula import effective_weight

LEAST_WEIGHTS = 2**17  # of `v`; to form a smaller w costs less than the steps that avoid it (measured on a CPU)
_AUTOCAST_FROM = (torch.float32, torch.bfloat16, torch.float16)


def weight_norm_linear(x: Tensor, v: Tensor, g: Tensor, bias: Tensor | None, scale: float = 1.0) -> Tensor:
    """y = scale · g (v·x)/‖v‖ + b (Salimans & Kingma 2016, equations 1 and 2; gradients: equation 3).

    With fewer examples than inputs, and many weights, the product is taken with `v` and its few outputs are scaled:
    beside the plain layer this reads `v` once more in each direction, and stores nothing but ‖v‖ and the outputs.
    Otherwise w is formed.
    Under autocast the product runs in its type; ‖v‖, the scaling and the gradient's projection are in float32. Twice
    differentiable.

    Args:
        x: `[..., n]`.
        v: `[out, n]`.
        g: `[out]`, in units of `scale`.
        bias: `[out]` or None.
        scale: 1 for the paper's units, √n for n inputs.

    Returns:
        `[..., out]`.
    """
    few = not torch.compiler.is_exporting() and x.numel() < v.shape[1] ** 2  # an exported graph is for any batch
    if not few or v.numel() < LEAST_WEIGHTS or torch._C._are_functorch_transforms_active():
        return F.linear(x, effective_weight(v, g, scale), bias)
    return cast(Callable[..., Tensor], _ScaledLinear.apply)(x, v, g, bias, scale)


class _ScaledLinear(torch.autograd.Function):
    """t = v·x in the product's type, y = (scale · g/‖v‖) t + b; the gradient is projected with another look at v."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor, g: Tensor, bias: Tensor | None, scale: float) -> Tensor:
        inputs, directions = _autocast(x), _autocast(v)
        norm = torch.linalg.vector_norm(v, dim=1, dtype=torch.promote_types(v.dtype, torch.float32))
        norm = torch.where(norm > 0, norm, math.inf)  # [out]; a zero row gets zeros, forward and backward
        t = F.linear(inputs, directions)  # [..., out]
        gain = g * (scale / norm)
        y = (t * gain if bias is None else torch.addcmul(bias.to(gain.dtype), t.to(gain.dtype), gain)).to(t.dtype)
        ctx.save_for_backward(x, v, g, bias, inputs, directions, norm, t)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (dy,) = grads
        x, v, g, bias, inputs, directions, norm, t = ctx.saved_tensors
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return _differentiable_backward(ctx, dy, x, v, g, bias)
        gain = g * (ctx.scale / norm)
        dy = dy.reshape(-1, len(v))  # [examples, out]
        dt = (dy * gain).to(t.dtype)
        dx = (dt @ directions).to(x.dtype).view_as(x) if ctx.needs_input_grad[0] else None
        dgain = (dy.to(norm.dtype) * t.view_as(dy)).sum(0)
        dv = (dt.t() @ inputs.reshape(-1, v.shape[1])).to(v.dtype)
        dv = _without(dv, v, (dgain * gain / norm**2)[:, None])
        db = None if bias is None else dy.sum(0).to(bias.dtype)
        return dx, dv, (dgain * (ctx.scale / norm)).to(g.dtype), db, None


def _without(dv: Tensor, v: Tensor, share: Tensor) -> Tensor:
    """dv − share · v, in float32 at least; may reuse the memory of `dv`."""
    if dv.dtype == share.dtype:
        return dv.addcmul_(v, share, value=-1.0)
    return (dv - share * v).to(dv.dtype)


def _autocast(tensor: Tensor) -> Tensor:
    """`tensor` in autocast's type where it is enabled, as `F.linear` takes it: not in the place of float64."""
    kind = tensor.device.type
    known = torch.amp.is_autocast_available(kind)  # not to the meta device
    enabled = known and torch.is_autocast_enabled(kind) and tensor.dtype in _AUTOCAST_FROM
    return tensor.to(torch.get_autocast_dtype(kind)) if enabled else tensor


def _differentiable_backward(
    ctx: Any, dy: Tensor, x: Tensor, v: Tensor, g: Tensor, bias: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The gradients as functions of the inputs, for second derivatives."""
    inputs = (x, v, g, bias)
    wanted = [tensor for tensor, needed in zip(inputs, ctx.needs_input_grad, strict=False) if needed]
    y = F.linear(x.to(v.dtype), effective_weight(v, g, ctx.scale), bias)
    grads = iter(torch.autograd.grad(y, cast(list[Tensor], wanted), dy.to(y.dtype), create_graph=True))
    return *(next(grads) if needed else None for needed in ctx.needs_input_grad[:4]), None
