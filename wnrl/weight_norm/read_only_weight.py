"""The weight that a weight-normalized layer shows: it is computed from g and v, so it refuses to be written to."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

READ_ONLY = (
    "the weight of a weight-normalized layer is computed from g and v, so writing to it would be lost: "
    "initialize before wrapping, or call layer.set_weight(tensor); to change a copy, clone() it first"
)
_WRITING_METHODS = {"__set__", "__setitem__"} | {f"__i{op}__" for op in ("add", "sub", "mul", "truediv", "mod", "pow")}


def read_only(weight: Tensor) -> Tensor:
    """`weight` as a tensor that refuses in-place operations; under torch.compile as it is."""
    return weight if torch.compiler.is_compiling() else weight.as_subclass(EffectiveWeight)


class EffectiveWeight(Tensor):
    """What `layer.weight` returns: a tensor that refuses in-place operations, which would be lost silently.

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
    """Whether a function of this name changes its first argument in place."""
    return name in _WRITING_METHODS or (name.endswith("_") and not name.endswith("__"))


def _same_storage(first: Tensor, second: Tensor) -> bool:
    """Whether one is a view of the other's memory."""
    return first.untyped_storage()._cdata == second.untyped_storage()._cdata
