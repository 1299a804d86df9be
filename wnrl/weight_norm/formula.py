"""The equations of weight normalization (Salimans & Kingma 2016), and the fast ways to compute them.

Equation 2, w = g v/‖v‖, is the body of `effective_weight`, and equation 3, its gradients, that of `_weight_gradients`;
`weight_norm_linear` gives a dense layer's outputs. `_FusedWeight` and `_ScaledLinear` compute the same in fewer passes
over v.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from wnrl.device import autocast_dtype

HOST_READABLE = ("cpu",)  # devices on which the host can look for zero rows without waiting
LEAST_WEIGHTS = 2**17  # of `v`; to form a smaller w costs less than the steps that avoid it (measured on a CPU)
_AUTOCAST_FROM = (torch.float32, torch.bfloat16, torch.float16)


def effective_weight(v: Tensor, g: Tensor, scale: float = 1.0, dim: int = 0) -> Tensor:
    """w = scale · g · v/‖v‖, with ‖v‖ over every dimension but `dim` (equation 2; gradients: equation 3).

    A zero row of `v` has no direction: its weights and both its gradients are zero, never NaN. Norms of half-precision
    tensors are computed in float32. Twice differentiable.

    Args:
        v: directions, at least two dimensions; the rows follow each other along `dim`.
        g: lengths, `[v.shape[dim]]`, in units of `scale`.
        scale: 1 for the paper's units, √n for n inputs a row.
        dim: the output dimension of `v`.

    Returns:
        The weights, of the shape and dtype of `v`.

    Raises:
        ValueError: `v` has no rows, or `g` another shape than `[v.shape[dim]]`.
    """
    if v.ndim < 2 or g.shape != (v.shape[dim],):
        raise ValueError(
            f"v must be rows along dimension {dim}, g a number for each, got {[*v.shape]} and {[*g.shape]}"
        )
    if dim:
        return effective_weight(v.movedim(dim, 0), g, scale).movedim(0, dim)
    if v.dtype in (torch.bfloat16, torch.float16):
        return effective_weight(v.float(), g.float(), scale).to(v.dtype)
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        norm = torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), keepdim=True)  # [out, 1, ...]
        gain = scale * g.view_as(norm) / torch.where(norm > 0, norm, 1.0)
        return v * torch.where(norm > 0, gain, 0.0)
    return cast(Callable[..., Tensor], _FusedWeight.apply)(v, g, scale)  # the same in fewer passes over v


def _weight_gradients(dw: Tensor, v: Tensor, g: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """∇v and ∇g/scale `[out, 1, ...]` of ∇w (equation 3), as differentiable operations."""
    dims = tuple(range(1, v.ndim))
    norm = torch.linalg.vector_norm(v, dim=dims, keepdim=True)
    norm = torch.where(norm > 0, norm, math.inf)
    unit = v / norm
    dg = (dw * unit).sum(dim=dims, keepdim=True)
    return (scale * g.view_as(norm) / norm) * (dw - unit * dg), dg


def weight_norm_linear(x: Tensor, v: Tensor, g: Tensor, bias: Tensor | None, scale: float = 1.0) -> Tensor:
    """y = scale · g (v·x)/‖v‖ + b (Salimans & Kingma 2016, equations 1 and 2; gradients: equation 3).

    With fewer examples than inputs, and many weights, the product is computed with `v` and its few outputs are scaled:
    compared to the plain layer this reads `v` once more in each direction, and stores only ‖v‖ and the outputs.
    Otherwise w is formed. Under autocast the product runs in autocast's dtype; ‖v‖, the scaling and the gradient's
    projection are in float32. Twice differentiable.

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


class _FusedWeight(torch.autograd.Function):
    """Equations 2 and 3 in few passes over `v`, one of them backward, with correct second derivatives.

    (Those of torch's fused operation, which treats the norm as a constant, are wrong.)
    """

    @staticmethod
    def forward(ctx: Any, v: Tensor, g: Tensor, scale: float) -> Tensor:
        gain = (g * scale).view(-1, *[1] * (v.ndim - 1))
        weight: Tensor | None = None
        if v.device.type in HOST_READABLE and v.is_contiguous():
            weight, norm = torch._weight_norm_interface(v, gain, 0)
            weight = weight if norm.all() else None
        if weight is None:  # the norm of a zero row is infinite, and so 1/‖v‖ zero
            norm = F.threshold(torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), keepdim=True), 0.0, math.inf)
            weight = v * (gain / norm)
        ctx.save_for_backward(v, g, gain, norm)
        ctx.scale = scale
        return weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        v, g, gain, norm = ctx.saved_tensors
        if torch.is_grad_enabled() or v.device.type not in ("cpu", "cuda") or not v.is_contiguous():
            dv, dg = _weight_gradients(grads[0], v, g, ctx.scale)
        else:
            dv, dg = torch.ops.aten._weight_norm_interface_backward(grads[0].contiguous(), v, gain, norm, 0)
        return dv, dg.flatten() * ctx.scale, None


class _ScaledLinear(torch.autograd.Function):
    """t = v·x in the product's dtype, y = (scale · g/‖v‖) t + b: w is never formed; backward reads v once more."""

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
        along_v = (dgain * gain / norm**2)[:, None]  # [out, 1], to be projected out: dv − along_v · v
        if dv.dtype == along_v.dtype:
            dv.addcmul_(v, along_v, value=-1.0)
        else:
            dv = (dv - along_v * v).to(dv.dtype)
        db = None if bias is None else dy.sum(0).to(bias.dtype)
        return dx, dv, (dgain * (ctx.scale / norm)).to(g.dtype), db, None


def _autocast(tensor: Tensor) -> Tensor:
    """`tensor` as `F.linear` takes it: in autocast's dtype where autocast is enabled, unless it is float64."""
    dtype = autocast_dtype(tensor.device)
    return tensor if dtype is None or tensor.dtype not in _AUTOCAST_FROM else tensor.to(dtype)


def _differentiable_backward(
    ctx: Any, dy: Tensor, x: Tensor, v: Tensor, g: Tensor, bias: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The gradients as functions of the inputs, for second derivatives."""
    inputs = (x, v, g, bias)
    wanted = [tensor for tensor, needed in zip(inputs, ctx.needs_input_grad, strict=False) if needed]
    y = F.linear(x.to(v.dtype), effective_weight(v, g, ctx.scale), bias)
    grads = iter(torch.autograd.grad(y, cast(list[Tensor], wanted), dy.to(y.dtype), create_graph=True))
    return *(next(grads) if needed else None for needed in ctx.needs_input_grad[:4]), None
