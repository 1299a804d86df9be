"""Whether batch normalization takes the statistics of its minibatch in training, or running ones that are held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from wnrl.normalizers.batch_norm import BatchNorm, MeanOnlyBatchNorm
from wnrl.uncompiled import uncompiled


def batch_norms(network: nn.Module) -> list[Any]:
    """The batch normalizations, mean-only ones too, of `network`."""
    return [module for module in network.modules() if isinstance(module, (MeanOnlyBatchNorm, BatchNorm))]


def hold_statistics(network: nn.Module) -> None:
    """Make batch normalizations use their running statistics in training too, which `update_statistics` alone moves."""
    for norm in batch_norms(network):
        norm.held = True


@torch.no_grad()
def update_statistics(network: nn.Module, forward: Callable[[], Any], *, share: float) -> None:
    """Move statistics that are held towards those of one minibatch, in place.

    Args:
        network: in training mode.
        forward: passes the minibatch through the network.
        share: of the minibatch in the new statistics; 1 replaces the old ones.
    """
    norms = batch_norms(network)
    before = [(norm.held, norm.momentum) for norm in norms]
    for norm in norms:
        norm.held, norm.momentum = False, share
    try:
        with uncompiled():
            forward()
    finally:
        for norm, (held, momentum) in zip(norms, before, strict=True):
            norm.held, norm.momentum = held, momentum
