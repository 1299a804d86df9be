"""The rows of a weight: one per output unit, holding all the weights of that unit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd


def rows(layer: nn.Module, weight: Tensor) -> Tensor:
    """`weight` of `layer` with a row per output unit, `[out, ...]`; its own inverse.

    The output channel of a transposed convolution is dimension 1 of `[in, out/groups, *kernel]`, and each group has its
    own rows: they become `[out, in/groups, *kernel]`. In every other weight, rows are dimension 0 already.
    """
    kind = getattr(layer, "plain_class", type(layer))
    if not issubclass(kind, _ConvTransposeNd):
        return weight
    groups: Any = layer.groups
    return weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)


def row_norms(layer: nn.Module, weight: Tensor) -> Tensor:
    """‖w‖ of each row, `[out]`, in at least float32."""
    dtype = torch.promote_types(weight.dtype, torch.float32)
    return torch.linalg.vector_norm(rows(layer, weight).flatten(1), dim=1, dtype=dtype)


def scale_rows(layer: nn.Module, weight: Tensor, factors: Tensor) -> Tensor:
    """`weight` with its rows multiplied by `factors` `[out]`, in the dtype of `weight`, rounded once."""
    by_row = rows(layer, weight)
    return rows(layer, (by_row * factors.view(-1, *[1] * (by_row.ndim - 1))).to(weight.dtype))
