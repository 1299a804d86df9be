"""A bound on what a module may take while it is built, for descriptions that come from files."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["Bounded", "TooLargeError"]

_MOST_TENSORS = 10_000


class TooLargeError(ValueError):
    """What is built would have more numbers, or more tensors, than the bound."""


class Bounded(TorchFunctionMode):
    """A context in which `torch.empty`, which makes the parameters of layers, raises before it takes too much memory.

    Args:
        most: numbers in all tensors together.

    Raises:
        TooLargeError: in the context: a tensor would exceed the bound.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most, self._numbers, self._tensors = most, 0, 0

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if function is torch.empty:
            size = (kwargs or {}).get("size", args[0] if args and isinstance(args[0], tuple | list) else args)
            self._tensors, self._numbers = self._tensors + 1, self._numbers + prod(map(int, size))
            if self._numbers > self._most or self._tensors > _MOST_TENSORS:
                raise TooLargeError(f"more than {self._most:,} numbers, or {_MOST_TENSORS:,} tensors")
        return function(*args, **(kwargs or {}))
