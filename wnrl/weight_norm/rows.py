"""The rows of a weight: one per output unit, holding all the weights of that unit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from wnrl.weight_norm.formula import row_norm


def rows(layer: nn.Module, weight: Tensor) -> Tensor:
    """`weight` of `layer` with a row per output unit, `[out, ...]`; its own inverse.

    The output channel of a transposed convolution is dimension 1 of `[in, out/groups, *kernel]`, and each group has its
    own rows: they become `[out, in/groups, *kernel]`. In every other weight, rows are dimension 0 already.
    """
    if not isinstance(layer, _ConvTransposeNd):
        return weight
    groups: Any = layer.groups
    return weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)


def row_norms(layer: nn.Module, weight: Tensor) -> Tensor:
    """‖w‖ of each row, `[out]`, in at least float32."""
    return row_norm(rows(layer, weight))


def scale_rows(layer: nn.Module, weight: Tensor, factors: Tensor) -> Tensor:
    """`weight` with its rows multiplied by `factors` `[out]`, in the dtype of `weight`, rounded once."""
    by_row = rows(layer, weight)
    return rows(layer, (by_row * factors.view(-1, *[1] * (by_row.ndim - 1))).to(weight.dtype))


def watched_entries(layer: nn.Module, weight: Tensor) -> Tensor:
    """One entry of each row of `weight` of `layer`, as a view: in the column that is furthest from having a zero.

    `[out]`, or `[groups, out/groups]` of a transposed convolution.
    """
    row_dims = 1
    if isinstance(layer, _ConvTransposeNd):  # by groups, since rows() would copy
        weight, row_dims = weight.unflatten(0, (layer.groups, -1)).transpose(1, 2), 2
    least = weight.abs().amin(dim=tuple(range(row_dims)))
    for i in reversed(torch.unravel_index(least.argmax(), least.shape)):
        weight = weight[..., int(i)]
    return weight


def channel_dim(layer: nn.Module) -> int:
    """The dimension of a layer's units in its output: −1 for dense layers, −3 for images."""
    return -1 - len(layer.kernel_size) if isinstance(layer, _ConvNd) else -1


def torch_class(kind: type) -> type:
    """The class of torch from which that of a layer derives."""
    return next(cls for cls in kind.__mro__ if cls.__module__.startswith("torch."))


def has_own_forward(kind: type[nn.Module]) -> bool:
    """Whether a subclass of torch's layer has a forward pass of its own, of which nothing is known.

    A class that computes the same convolution in another way declares that method as its `same_conv_forward`.
    """
    plain, convolves = torch_class(kind), getattr(kind, "_conv_forward", None)
    if getattr(kind, "forward", None) is not getattr(plain, "forward", None):
        return True
    known = getattr(plain, "_conv_forward", None), getattr(kind, "same_conv_forward", None)
    return convolves is not None and convolves not in known
