"""Errors for optimizers that hold parameters which `normalize` replaced, or not all parameters of a network."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

BUILD_AFTERWARDS = "build it from network.parameters() after normalize()"


def check_optimizer(optimizer: Optimizer, network: nn.Module) -> None:
    """Raise ValueError unless `optimizer` holds every trainable parameter of `network` and none that was replaced."""
    _REPLACED.check(optimizer)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    missing = [name for name, p in network.named_parameters() if p.requires_grad and id(p) not in held]
    if missing:
        few = ", ".join(missing[:5])
        raise ValueError(f"the optimizer does not hold {few}, which would never learn: {BUILD_AFTERWARDS}")


def refuse_in_optimizers(parameters: Iterable[nn.Parameter]) -> None:
    """From now on, a step of an optimizer that holds one of these parameters raises ValueError."""
    _REPLACED.add(list(parameters))


class _Replaced:
    """The replaced parameters that something still holds; while there are any, optimizers are checked at a step.

    An optimizer is checked at its first step, and again only after parameters were replaced or its groups have grown.
    The step hook is removed when the last replaced parameter is freed: as a rule, when `normalize` returns.
    """

    def __init__(self) -> None:
        self._ids: set[int] = set()
        self._checked: weakref.WeakKeyDictionary[Optimizer, tuple[int, ...]] = (
            weakref.WeakKeyDictionary()
        )  # group sizes
        self._hook: RemovableHandle | None = None
        self._lock = threading.RLock()  # parameters are freed in any thread, also while one is added

    def add(self, parameters: list[nn.Parameter]) -> None:
        with self._lock:
            self._checked.clear()
            for parameter in parameters:
                if id(parameter) not in self._ids:
                    self._ids.add(id(parameter))
                    weakref.finalize(parameter, self._discard, id(parameter)).atexit = False
            if self._ids and self._hook is None:
                self._hook = register_optimizer_step_pre_hook(self._before_step)

    def check(self, optimizer: Optimizer) -> None:
        if any(id(parameter) in self._ids for group in optimizer.param_groups for parameter in group["params"]):
            raise ValueError(f"the optimizer holds parameters from before normalize(): {BUILD_AFTERWARDS}")

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        sizes = tuple(len(group["params"]) for group in optimizer.param_groups)
        if self._checked.get(optimizer) != sizes:
            self.check(optimizer)
            self._checked[optimizer] = sizes

    def _discard(self, key: int) -> None:
        with self._lock:
            self._ids.discard(key)
            if not self._ids and self._hook is not None:
                self._hook.remove()
                self._hook = None


_REPLACED = _Replaced()
