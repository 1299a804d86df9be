"""Which statistics batch normalization takes in training: those of its minibatch, of some rows, or running ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

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


@contextmanager
def counting(network: nn.Module, rows: Tensor) -> Iterator[None]:
    """Within it, the statistics of minibatches of B rows are those of some; all rows are normalized by them.

    Args:
        network: its batch normalizations of other minibatches, such as those of each step alone, count all rows.
        rows: `[B]` bool, which rows count; more than one.
    """
    norms = batch_norms(network)
    for norm in norms:
        norm.counted = rows
    try:
        yield
    finally:
        for norm in norms:
            del norm.counted
