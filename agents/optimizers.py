"""Optimizers by name, with the variants that the presets need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import torch
from torch import nn
from torch.optim import Optimizer

OptimizerName = Literal["adam", "adamax", "radam", "rmsprop", "rmsprop-a2c"]


def make_optimizer(
    name: OptimizerName, parameters: Iterable[nn.Parameter], *, learning_rate: float, beta1: float, eps: float
) -> Optimizer:
    """An optimizer over `parameters`.

    Args:
        name: `adam`, `adamax`, `radam`, `rmsprop` (centred, as Mnih et al. 2015 describe it, without momentum) or
            `rmsprop-a2c` (not centred, decay 0.99, as in the published code of A2C).
        parameters: of the network as it is now; build the optimizer after the network is normalized.
        learning_rate: step size.
        beta1: decay of the gradient's mean (Adam, Adamax, RAdam); RMSprop decays both of its means by 0.95.
        eps: added to the denominator, in units of the gradient.

    Raises:
        ValueError: an unknown name.
    """
    if name == "adam":
        return torch.optim.Adam(parameters, lr=learning_rate, betas=(beta1, 0.999), eps=eps, fused=True)
    if name == "adamax":
        return torch.optim.Adamax(parameters, lr=learning_rate, betas=(beta1, 0.999), eps=eps)
    if name == "radam":
        return torch.optim.RAdam(parameters, lr=learning_rate, betas=(beta1, 0.999), eps=eps)
    if name == "rmsprop-a2c":
        return torch.optim.RMSprop(parameters, lr=learning_rate, alpha=0.99, eps=eps)
    if name == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=learning_rate, alpha=0.95, eps=eps, centered=True)
    raise ValueError(f"unknown optimizer {name!r}: choose from {', '.join(get_args(OptimizerName))}")


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Let the optimizer's next steps have this size."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
