"""Products of matrices with few rows or columns, as compiled code computes them: elementwise, within other kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

DEVICES: tuple[str, ...] = ("cuda",)
"""Where it pays: a library's float32 product for the few outputs of a head takes ten times as long there."""
NARROW = 18  # rows or columns: actions of an Atari game
MOST_PRODUCTS = 4_000_000  # of numbers: beyond, a library reads less memory

Decomposition = Callable[..., Any]


def compile_with_narrow_products(graph: torch.fx.GraphModule, inputs: Any) -> Any:
    """The backend "inductor" of torch.compile, which adds up narrow float32 products itself."""
    from torch._inductor.compile_fx import compile_fx
    from torch._inductor.decomposition import select_decomp_table

    return compile_fx(graph, inputs, decompositions=with_narrow_products(select_decomp_table()))


def with_narrow_products(decompositions: dict[Any, Decomposition]) -> dict[Any, Decomposition]:
    """Decompositions of operations, with those of narrow products before the ones that are there."""
    aten = torch.ops.aten
    others = {operation: decompositions.get(operation) for operation in (aten.mm.default, aten.addmm.default)}

    def mm(left: Tensor, right: Tensor, **options: Any) -> Any:
        if is_narrow(left, right) and not options:
            return _product(left, right)
        return _otherwise(others[aten.mm.default], left, right, **options)

    def addmm(bias: Tensor, left: Tensor, right: Tensor, **options: Any) -> Any:
        if is_narrow(left, right) and not options:
            return bias + _product(left, right)
        return _otherwise(others[aten.addmm.default], bias, left, right, **options)

    return {**decompositions, aten.mm.default: mm, aten.addmm.default: addmm}


def is_narrow(left: Tensor, right: Tensor) -> bool:
    """Whether a product `[M, K] [K, N]` is one in float32 that is added up elementwise."""
    (rows, inner), columns = left.shape, right.shape[1]
    fits = min(rows, inner, columns) <= NARROW and rows * inner * columns <= MOST_PRODUCTS
    return left.device.type in DEVICES and left.dtype == right.dtype == torch.float32 and fits


def _product(left: Tensor, right: Tensor) -> Tensor:
    return (left.unsqueeze(2) * right.unsqueeze(0)).sum(1)


def _otherwise(decomposition: Decomposition | None, *arguments: Any, **options: Any) -> Any:
    """What the decomposition that was there gives; NotImplemented leaves the operation as it is."""
    return NotImplemented if decomposition is None else decomposition(*arguments, **options)
