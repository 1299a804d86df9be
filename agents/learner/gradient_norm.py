"""The norm of a network's gradient."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce

import numpy as np
import torch
from torch import Tensor


def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The norm of all entries together, 0-dim and float32, without waiting for the device.

    Finite wherever it is below float32's greatest number, though squares of entries overflow from 1.8e19 on: they are
    added in float64, on the CPU only where that has happened, since it takes ten times as long there.
    """
    if gradients and (gradients[0].is_cuda or torch.compiler.is_compiling()):
        return _norm(gradients, torch.float64)
    norm = _norm(gradients, torch.float32)
    return norm if np.isfinite(norm.numpy()) else _norm(gradients, torch.float64)


def clip(gradients: Sequence[Tensor], norm: Tensor, limit: float) -> None:
    """Scale the gradients of one device, whose norm this is, in place to `limit` where they are longer.

    As torch's `clip_grads_with_norm_`, which first groups them by device and dtype: on a small network that takes
    longer than the scaling.
    """
    if gradients:
        torch._foreach_mul_(list(gradients), (limit / (norm + 1e-6)).clamp(max=1.0))


def _norm(gradients: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    if not gradients:
        return torch.zeros(())
    norms = torch._foreach_norm(list(gradients), 2, dtype=dtype)
    if torch.compiler.is_compiling():  # one kernel, where stacking takes one for each norm
        return reduce(operator.add, (norm * norm for norm in norms)).sqrt().float()
    return torch.linalg.vector_norm(torch.stack(norms)).float()
