"""The weights of several small dense layers, formed at once: each function of autograd costs more than they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules

from wnrl.weight_norm.formula import LEAST_WEIGHTS, effective_weight, is_batched, is_safe, is_transformed

if TYPE_CHECKING:
    from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

__all__ = ["FormedWeights", "FormingSequential", "form_together", "form_weights", "separate_again"]

_REAL = (torch.float32, torch.float64)
_is_compiling, _is_grad_enabled = torch.compiler.is_compiling, torch.is_grad_enabled
_form, _form_backward = torch._weight_norm_interface, torch.ops.aten._weight_norm_interface_backward.default


class FormedWeights:
    """A context for one pass through a network with gradients: its small dense layers get their weights at once.

    What a layer has got it uses in its first call by this thread; what is left at the end is dropped.

    Args:
        layers: dense layers of the network; those that are not weight-normalized, or not small, are passed over, as are
            those with forward pre-hooks, which may write to v and g.
    """

    __slots__ = ("_layers",)

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        self._layers = layers

    def __enter__(self) -> None:
        layers: Any = [layer for layer in self._layers if _takes_formed_weight(layer) and not layer._forward_pre_hooks]
        if layers and _is_grad_enabled() and not torch_modules._global_forward_pre_hooks:
            thread = get_ident()
            for layer, weight in zip(layers, form_weights(layers), strict=True):
                if weight is not None:
                    layer.__dict__["_formed"] = thread, weight
        self._layers = layers

    def __exit__(self, *error: object) -> None:
        for layer in self._layers:
            layer.__dict__.pop("_formed", None)


class FormingSequential(nn.Sequential):
    """A `torch.nn.Sequential` whose small weight-normalized dense layers get their weights at once."""

    def forward(self, input: Tensor) -> Tensor:
        """As of any `torch.nn.Sequential`."""
        if not _is_grad_enabled() or _is_compiling():
            return cast(Tensor, super().forward(input))
        with FormedWeights(self._modules.values()):
            return cast(Tensor, super().forward(input))


def form_together(network: nn.Module) -> None:
    """Make each `torch.nn.Sequential` in `network` that has several such layers a `FormingSequential`, in place."""
    for module in network.modules():
        if type(module) is nn.Sequential and sum(map(_takes_formed_weight, module)) > 1:
            module.__class__ = FormingSequential


def separate_again(network: nn.Module) -> None:
    """Give each `FormingSequential` in `network` without such layers its plain class back, in place."""
    for module in network.modules():
        if type(module) is FormingSequential and not any(map(_takes_formed_weight, module)):
            cast(Any, module).__class__ = nn.Sequential


def _takes_formed_weight(layer: nn.Module) -> bool:
    return hasattr(type(layer), "takes_formed_weight")


def form_weights(layers: Sequence[WeightNormLayer]) -> Sequence[Tensor | None]:
    """The effective weights of dense layers, in one function of autograd; None for those that it does not take.

    It takes small float32 and float64 weights on the CPU whose rows have ordinary norms, where nothing records or
    transforms operations. Gradients and second derivatives are those of `effective_weight`.
    """
    weights: list[Tensor | None] = [None] * len(layers)
    if is_transformed():
        return weights
    vs: list[Tensor] = []
    gs: list[Tensor] = []
    scales: list[float] = []
    places: list[int] = []
    for place, layer in enumerate(layers):
        parameters = layer._parameters
        v, g = parameters.get("v"), parameters.get("g")
        if not (type(v) is type(g) is nn.Parameter and v.is_cpu and v.dtype in _REAL and g.dtype is v.dtype):
            continue
        if 0 < v.numel() < LEAST_WEIGHTS and v.is_contiguous() and not layer._ballast and layer.units != "log":
            vs.append(v)
            gs.append(g)
            scales.append(layer._scales["weight"])
            places.append(place)
    if places:
        if _is_grad_enabled():
            formed = cast(Callable[..., tuple[Tensor, ...]], _FormedWeights.apply)(scales, *vs, *gs)
        else:
            formed, _ = _formed(scales, vs, gs)
        for place, weight in zip(places, formed, strict=True):
            weights[place] = weight
    return weights


class _FormedWeights(torch.autograd.Function):
    """Equations 2 and 3 of several v and g.

    It keeps the parameters itself, not by `save_for_backward`: losses of different layers may go backward one by one.
    """

    @staticmethod
    def forward(ctx: Any, scales: list[float], *pairs: Tensor) -> tuple[Tensor, ...]:
        number = len(scales)
        weights, ctx.gains_and_norms = _formed(scales, pairs[:number], pairs[number:])
        ctx.set_materialize_grads(False)
        ctx.scales, ctx.pairs, ctx.versions = scales, pairs, [tensor._version for tensor in pairs]
        return weights

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        pairs, scales, number = ctx.pairs, ctx.scales, len(grads)
        used = [i for i, dw in enumerate(grads) if dw is not None]
        if any(pairs[j]._version != ctx.versions[j] for i in used for j in (i, number + i)):
            raise RuntimeError("a v or g was modified by an inplace operation after its weight was used in this graph")
        dv: list[Tensor | None] = [None] * number
        dg: list[Tensor | None] = [None] * number
        graph, scaled = _is_grad_enabled(), []
        for i in used:
            dw = cast(Tensor, grads[i])
            if graph or ctx.gains_and_norms is None or is_batched(dw):
                dv[i], dg[i] = _general_gradients(pairs[i], pairs[number + i], scales[i], dw)
                continue
            dv[i], dg[i] = _form_backward(dw.contiguous(), pairs[i], *ctx.gains_and_norms[i], 0)
            if scales[i] != 1.0:
                scaled.append(i)
        if scaled:
            units = [_number(scales[i], pairs[i].dtype) for i in scaled]
            torch._foreach_mul_([cast(Tensor, dg[i]) for i in scaled], units)
        return None, *dv, *dg


def _formed(
    scales: list[float], vs: Sequence[Tensor], gs: list[Tensor] | tuple[Tensor, ...]
) -> tuple[tuple[Tensor, ...], list[tuple[Tensor, Tensor]] | None]:
    """The weights, and s·g and ‖v‖ `[out]` of each; None instead of these where a row has no ordinary norm."""
    gains: Sequence[Tensor] = gs
    if scales.count(1.0) != len(scales):
        gains = torch._foreach_mul(gs, [_number(scale, g.dtype) for g, scale in zip(gs, scales, strict=True)])
    weights, norms = zip(*[_form(v, gain, 0) for v, gain in zip(vs, gains, strict=True)], strict=True)
    if is_safe(norms[0] if len(norms) == 1 else torch.cat(norms)):
        return weights, list(zip(gains, norms, strict=True))
    return tuple(effective_weight(*each) for each in zip(vs, gs, scales, strict=True)), None


@cache
def _number(value: float, dtype: torch.dtype) -> Tensor:
    """As a tensor, by which others are multiplied in half of the time that a number takes."""
    return torch.tensor(value, dtype=dtype, device="cpu")


def _general_gradients(v: Tensor, g: Tensor, scale: float, dw: Tensor) -> list[Tensor | None]:
    """The gradients as functions of v and g, for second derivatives, of many `dw` at once, or of rows of any size."""
    graph, wanted = torch.is_grad_enabled(), [tensor for tensor in (v, g) if tensor.requires_grad]
    with torch.enable_grad():
        weight = effective_weight(v, g, scale)
    found = iter(torch.autograd.grad(weight, wanted, dw, create_graph=graph))
    return [next(found) if tensor.requires_grad else None for tensor in (v, g)]
