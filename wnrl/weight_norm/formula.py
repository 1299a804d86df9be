"""The equations of weight normalization (Salimans & Kingma 2016), and the fast ways to compute them.

Equation 2, w = g v/‖v‖, is `_composed_weight`, in ordinary operations that every transform, tracer and exporter takes.
`_FusedWeight` computes it, and equation 3, its gradients, in fewer passes over v; `_ScaledLinear` a layer's outputs
without w. Rows whose squares over- or underflow are scaled by a power of two first (`_split_norm`), or have their norm
in float64 (`_wide_norm`), which takes fewer operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from wnrl.device import autocast_dtype

HOST_READABLE = ("cpu",)  # devices on which the host can look at the norms without waiting
WIDE = ("cuda",)  # devices on which float32 rows have their norms in float64, where no square over- or underflows
LEAST_WEIGHTS = 2**17  # of `v`; to form a smaller w costs less than the steps that avoid it (measured on a CPU)
_AUTOCAST_FROM = (torch.float32, torch.bfloat16, torch.float16)
_HALF = (torch.bfloat16, torch.float16, torch.complex32)
_FUSED = (Tensor, nn.Parameter)  # and no subclass: torch 2.8 cannot shard the fused operation
_RANGES = {  # by the norms' dtype: between which they are safe to square, and a factor that brings others there
    torch.float32: (2.0**-50, 2.0**50, 2.0**80),
    torch.float64: (2.0**-450, 2.0**450, 2.0**650),
}


def effective_weight(v: Tensor, g: Tensor, scale: float = 1.0, dim: int = 0, *, ballast: float = 0.0) -> Tensor:
    """w = scale · g · v/‖v‖, with ‖v‖ over every dimension but `dim` (equation 2; gradients: equation 3).

    A zero row of `v` has no direction: its weights and both its gradients are zero, never NaN. Rows may have any finite
    size: ‖v‖ itself need not be representable. Norms of half-precision tensors are computed in float32. Twice
    differentiable, also in forward mode and in batches; can be traced, compiled and exported.

    Args:
        v: directions, at least two dimensions, real or complex; the rows follow each other along `dim`.
        g: lengths, `[v.shape[dim]]`, in units of `scale`.
        scale: 1 for the paper's units, √n for n inputs a row.
        dim: the output dimension of `v`.
        ballast: c in w = scale · g · v/√(‖v‖² + c²): each row has one more weight c, whose input is 0, and
            a zero row of `v` its gradient.

    Returns:
        The weights, of the shape, memory format and dtype of `v`.

    Raises:
        ValueError: `v` has less than two dimensions, or `g` another shape than `[v.shape[dim]]`.
    """
    if v.ndim < 2 or (not torch.jit.is_tracing() and g.shape != (v.shape[dim],)):
        raise ValueError(
            f"v must be rows along dimension {dim}, g a number for each, got {[*v.shape]} and {[*g.shape]}"
        )
    if dim:
        return effective_weight(v.movedim(dim, 0), g, scale, ballast=ballast).movedim(0, dim)
    if v.dtype in _HALF:
        wide = torch.promote_types(v.dtype, torch.float32)
        w = effective_weight(v.to(wide), g.to(torch.promote_types(g.dtype, torch.float32)), scale, ballast=ballast)
        return w.to(v.dtype)
    composed = ballast or v.is_complex() or torch.compiler.is_compiling() or is_transformed() or not v.numel()
    if composed or type(v) not in _FUSED:
        return _composed_weight(v, g, scale, ballast)
    return cast(Callable[..., Tensor], _FusedWeight.apply)(v, g, scale)  # the same in fewer passes over v


def row_norm(by_row: Tensor, unit: float = 1.0) -> Tensor:
    """‖row‖/unit `[out]` of rows `[out, ...]` of any finite size: real, in at least float32.

    Infinite only where the quotient itself is greater than its dtype's maximum; 0 for a row without entries.
    """
    dtype = torch.promote_types(by_row.dtype, torch.float32)
    if not by_row.numel():
        return by_row.new_zeros(len(by_row), dtype=dtype.to_real())
    dims = tuple(range(1, by_row.ndim))
    if _is_wide(by_row):
        return (torch.linalg.vector_norm(by_row, dim=dims, dtype=torch.float64) / unit).float()
    norm = torch.linalg.vector_norm(by_row, dim=dims, dtype=dtype)
    if torch.compiler.is_compiling() or is_transformed() or not is_safe(norm.detach()):
        u, _, c = _split_norm(by_row.to(dtype))
        return torch.linalg.vector_norm(u, dim=dims) / unit / c.flatten()
    return norm / unit


def is_transformed() -> bool:
    """Whether a functorch transform, a tracer, forward-mode differentiation or a dispatch mode (fake tensors) is on."""
    if torch._C._are_functorch_transforms_active():
        return True
    if torch.compiler.is_compiling():
        return False
    return torch.jit.is_tracing() or forward_ad._current_level >= 0 or torch._C._len_torch_dispatch_stack() > 0


def is_batched(gradient: Tensor) -> bool:
    """Whether it is many gradients, of `torch.func.vmap` or `is_grads_batched`, which fused operations do not take."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or torch._C._functorch.is_legacy_batchedtensor(gradient)


def is_safe(norm: Tensor) -> bool:
    """Whether the host sees, without waiting for the device, that no row is zero, or out of range when squared."""
    if norm.device.type not in HOST_READABLE:
        return False
    least, greatest, _ = _RANGES[norm.dtype]
    low, high = norm.aminmax()
    return least <= low.item() and high.item() <= greatest


def _is_wide(v: Tensor) -> bool:
    """Whether the norms of these rows are computed in float64; compiled code has its own ways."""
    if v.device.type not in WIDE or v.dtype != torch.float32:
        return False
    return not (torch.compiler.is_compiling() or is_transformed())


def _wide_norm(v: Tensor) -> Tensor:
    """‖v‖ `[out, 1, ...]` in float64, of rows of any finite size; infinite for a zero row."""
    norm = torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), keepdim=True, dtype=torch.float64)
    return norm.masked_fill_(norm == 0, math.inf)


def _split_norm(v: Tensor, ballast: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """u = c v, c and r = c‖v‖ `[out, 1, ...]`, without over- or underflow; r of a zero row is infinite.

    The factor c is 1 for rows whose norm is safe to square, otherwise a power of two.
    """
    dims = tuple(range(1, v.ndim))
    norm = torch.linalg.vector_norm(v.detach(), dim=dims, keepdim=True)
    if ballast:
        norm = norm.clamp(min=abs(ballast))
    least, greatest, factor = _RANGES[norm.dtype]
    c = torch.ones_like(norm).masked_fill(norm < least, factor).masked_fill(norm > greatest, 1 / factor)
    u = v * c
    squares = torch.view_as_real(u).square().sum(-1) if v.is_complex() else u.square()
    total = squares.sum(dims, keepdim=True)
    if ballast:
        total = total + (ballast * c).square()
    zero = total == 0
    return u, total.masked_fill(zero, 1.0).sqrt().masked_fill(zero, math.inf), c  # √∞ is NaN in onnxruntime 1.20


def _composed_weight(v: Tensor, g: Tensor, scale: float, ballast: float = 0.0) -> Tensor:
    """w (equation 2) in ordinary operations."""
    u, r, _ = _split_norm(v, ballast)
    return u * (g.view_as(r) / r * scale)


def weight_norm_linear(
    x: Tensor, v: Tensor, g: Tensor, bias: Tensor | None, scale: float = 1.0, *, ballast: float = 0.0
) -> Tensor:
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
        ballast: as in `effective_weight`; w is formed.

    Returns:
        `[..., out]`.
    """
    for_any_batch = torch.compiler.is_exporting() or is_transformed()
    formed = ballast or v.is_complex() or for_any_batch
    if formed or v.numel() < LEAST_WEIGHTS or x.numel() >= v.shape[1] ** 2:
        return F.linear(x, effective_weight(v, g, scale, ballast=ballast), bias)
    norm = row_norm(v.detach())
    if torch.compiler.is_compiling() or v.device.type not in HOST_READABLE:
        norm = torch.where(norm > 0, norm, math.inf)  # [out]; a zero row gets zeros, forward and backward
    elif not is_safe(norm):
        return F.linear(x, effective_weight(v, g, scale), bias)
    return cast(Callable[..., Tensor], _ScaledLinear.apply)(x, v, g, bias, norm, scale)


class _FusedWeight(torch.autograd.Function):
    """Equations 2 and 3 in few passes over `v`, one of them backward, with correct second derivatives.

    (Those of torch's fused operation, which treats the norm as a constant, are wrong.)
    """

    @staticmethod
    def forward(ctx: Any, v: Tensor, g: Tensor, scale: float) -> Tensor:
        wide = _is_wide(v)
        gain: Any = None if wide else (g * scale).view(-1, *[1] * (v.ndim - 1))
        weight = norm = None
        if wide:
            norm = _wide_norm(v)
            weight = torch.mul(v, g.view_as(norm) / norm * scale, out=torch.empty_like(v))  # rounded once
        elif v.device.type in HOST_READABLE:
            if v.is_contiguous():
                weight, norm = torch._weight_norm_interface(v, gain, 0)
                if weight.stride() != v.stride():  # channels_last with one channel or pixel
                    weight.as_strided_(v.shape, v.stride())
            else:
                norm = torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), keepdim=True)
                weight = v * (gain / norm)
        if norm is None or not (wide or is_safe(norm)):
            weight, norm = _composed_weight(v, g, scale), None
        ctx.save_for_backward(v, g, gain, norm)
        ctx.scale = scale
        return cast(Tensor, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (dw,) = grads
        v, g, gain, norm = ctx.saved_tensors
        graph = torch.is_grad_enabled()
        fused = v.is_contiguous() and v.device.type in ("cpu", "cuda") and not (graph or is_batched(dw))
        if norm is not None and gain is None and not graph:
            direction, length = torch.div(v, norm, out=torch.empty_like(v)), torch.ones_like(norm, dtype=v.dtype)
            slope = (g.view_as(norm) / norm * ctx.scale).to(v.dtype)
        elif fused and norm is not None:
            direction, length, slope = v, norm, gain
        elif norm is not None and not graph:
            direction, length, slope = v / norm, None, gain / norm
        else:
            u, r, c = _split_norm(v)
            direction, length, slope = u / r, torch.ones_like(r), g.view_as(r) * c / r * ctx.scale
        if fused:
            dv, dg = torch.ops.aten._weight_norm_interface_backward(dw.contiguous(), direction, slope, length, 0)
        else:
            dg = (dw * direction).sum(dim=tuple(range(1, v.ndim)), keepdim=True)
            dv = (direction * -dg + dw) * slope  # of v's memory format, since `direction` comes first
        return dv, dg.view(-1) * ctx.scale, None


class _ScaledLinear(torch.autograd.Function):
    """t = v·x in the product's dtype, y = (scale · g/‖v‖) t + b: w is never formed; backward reads v once more."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor, g: Tensor, bias: Tensor | None, norm: Tensor, scale: float) -> Tensor:
        inputs, directions = _autocast(x), _autocast(v)
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
        compiling = torch.compiler.is_compiling()
        if torch.is_grad_enabled() and not compiling:
            return _differentiable_backward(ctx, dy, x, v, g, bias)
        gain = g * (ctx.scale / norm)
        dy = dy.reshape(-1, len(v))  # [examples, out]
        dt = (dy * gain).to(t.dtype)
        dx = (dt @ directions).to(x.dtype).view_as(x) if ctx.needs_input_grad[0] else None
        dgain = (dy.to(norm.dtype) * t.view_as(dy)).sum(0)
        dv = (dt.t() @ inputs.reshape(-1, v.shape[1])).to(v.dtype)
        if compiling or v.device.type not in HOST_READABLE:  # norms of any size
            v, along_v = v * (1 / norm)[:, None], (dgain / norm * gain)[:, None]
        else:
            along_v = (dgain * gain / norm**2)[:, None]  # [out, 1], to be projected out: dv − along_v · v
        if dv.dtype == along_v.dtype and not is_batched(dy):
            dv.addcmul_(v, along_v, value=-1.0)
        else:
            dv = (dv - along_v * v).to(dv.dtype)
        db = None if bias is None else dy.sum(0).to(bias.dtype)
        return dx, dv, (dgain * (ctx.scale / norm)).to(g.dtype), db, None, None


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
    return *(next(grads) if needed else None for needed in ctx.needs_input_grad[:4]), None, None
