"""The effective weight w = g v/‖v‖ (Salimans & Kingma 2016, equation 2): its formulas, and what a layer shows of it."""

import copy
import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

_WRITING_METHODS = {"__set__", "__setitem__"} | {f"__i{op}__" for op in ("add", "sub", "mul", "truediv", "mod", "pow")}
READ_ONLY = (
    "the weight of a weight-normalized layer is computed from g and v, so writing to it would be lost: "
    "initialize before wrapping, or call layer.set_weight(tensor); to change a copy, clone() it first"
)


def effective_weight(v: Tensor, g: Tensor, scale: float = 1.0, dim: int = 0) -> Tensor:
    """w = scale · g · v/‖v‖, with ‖v‖ over every dimension but `dim` (equation 2; gradients: equation 3).

    A zero row of `v` has no direction: its weights and both its gradients are zero, never NaN. Norms of half-precision
    tensors are taken in float32. Twice differentiable.

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
        return _traced_weight(v, g, scale)
    return cast(Callable[..., Tensor], _EffectiveWeight.apply)(v, g, scale)


def _traced_weight(v: Tensor, g: Tensor, scale: float) -> Tensor:
    norm = torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), keepdim=True)
    gain = scale * g.view_as(norm) / torch.where(norm > 0, norm, 1.0)
    return v * torch.where(norm > 0, gain, 0.0)


def _eager_weight(v: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """gain · v/‖v‖ and ‖v‖ `[out, 1, ...]`, where the norm of a zero row is infinite and 1/‖v‖ so zero."""
    if _may_look(v.device) and v.is_contiguous():
        weight, norm = torch._weight_norm_interface(v, gain, 0)
        if norm.all():
            return weight, norm
    norm = torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), keepdim=True)
    norm = F.threshold(norm, 0.0, math.inf)
    return v * (gain / norm), norm


def _may_look(device: torch.device) -> bool:
    """Whether the host can look for zero rows; on other devices that would be to wait."""
    return device.type == "cpu"


class _EffectiveWeight(torch.autograd.Function):
    """The eager path: few passes over `v`, one of them backward, and right second derivatives.

    (Those of torch's fused operation, which takes the norm for a constant, are wrong.)
    """

    @staticmethod
    def forward(ctx: Any, v: Tensor, g: Tensor, scale: float) -> Tensor:
        gain = (g * scale).view(-1, *[1] * (v.ndim - 1))
        weight, norm = _eager_weight(v, gain)
        ctx.save_for_backward(v, g, gain, norm)
        ctx.scale = scale
        return weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        v, g, gain, norm = ctx.saved_tensors
        if torch.is_grad_enabled() or v.device.type not in ("cpu", "cuda") or not v.is_contiguous():
            dv, dg = _closed_form_backward(grads[0], v, g, ctx.scale)
        else:
            dv, dg = torch.ops.aten._weight_norm_interface_backward(grads[0].contiguous(), v, gain, norm, 0)
        return dv, dg.flatten() * ctx.scale, None


def _closed_form_backward(dw: Tensor, v: Tensor, g: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Equation 3 as differentiable operations, for second derivatives and for layouts without a fused kernel."""
    dims = tuple(range(1, v.ndim))
    norm = torch.linalg.vector_norm(v, dim=dims, keepdim=True)
    norm = torch.where(norm > 0, norm, math.inf)
    unit = v / norm
    dg = (dw * unit).sum(dim=dims, keepdim=True)
    return (scale * g.view_as(norm) / norm) * (dw - unit * dg), dg


class EffectiveWeight(Tensor):
    """What `layer.weight` returns: a tensor that refuses in-place operations, which would be lost without a word.

    Results of operations are ordinary tensors, except views, which refuse too. Copies and pickles are ordinary ones.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """An ordinary tensor; as of any tensor, RuntimeError unless it is detached."""
        return copy.deepcopy(self.as_subclass(Tensor), memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """As an ordinary tensor, so that torch.load needs to know no other class."""
        return self.as_subclass(Tensor).__reduce_ex__(protocol)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run `func` on ordinary tensors; raises TypeError if it writes to an effective weight."""
        kwargs = kwargs or {}
        target = kwargs.get("out", kwargs.get("tensor", args[0] if args else None))
        if isinstance(target, cls) and ("out" in kwargs or _writes(getattr(func, "__name__", ""))):
            raise TypeError(READ_ONLY)
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
            if isinstance(result, Tensor) and isinstance(target, cls) and _same_storage(result, target):
                return result.as_subclass(cls)
        return result


def _writes(name: str) -> bool:
    return name in _WRITING_METHODS or (name.endswith("_") and not name.endswith("__"))


def _same_storage(first: Tensor, second: Tensor) -> bool:
    return first.untyped_storage()._cdata == second.untyped_storage()._cdata
