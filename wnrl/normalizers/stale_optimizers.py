"""Optimizers that hold what a network no longer uses, or not all that it uses: found before they do nothing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

BUILD_AFTERWARDS = "build it from network.parameters() after normalize()"


def check_optimizer(optimizer: Optimizer, network: nn.Module) -> None:
    """Raise ValueError unless `optimizer` holds every trainable parameter of `network` and none that was replaced."""
    _check_fresh(optimizer)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    missing = [name for name, p in network.named_parameters() if p.requires_grad and id(p) not in held]
    if missing:
        few = ", ".join(missing[:5])
        raise ValueError(f"the optimizer does not hold {few}, which would never learn: {BUILD_AFTERWARDS}")


def refuse_in_optimizers(parameters: Iterable[nn.Parameter]) -> None:
    """From now on, a step of an optimizer that holds one of these parameters raises ValueError."""
    for parameter in parameters:
        parameter._wnrl_replaced = True  # type: ignore[attr-defined]
    _watch_optimizers()


@lru_cache(maxsize=1)
def _watch_optimizers() -> None:
    register_optimizer_step_pre_hook(lambda optimizer, args, kwargs: _check_fresh(optimizer))


def _check_fresh(optimizer: Optimizer) -> Any:
    for group in optimizer.param_groups:
        if any(hasattr(parameter, "_wnrl_replaced") for parameter in group["params"]):
            raise ValueError(f"the optimizer holds parameters from before normalize(): {BUILD_AFTERWARDS}")
