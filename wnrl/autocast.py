"""What autocast does to products, and what stays out of it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def without_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    """A context in which operations on `tensor`'s device keep their types; any device will do, the meta device too."""
    kind = tensor.device.type
    enabled = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if enabled else nullcontext()


def dtype_of_products(device: torch.device) -> torch.dtype:
    """The type of products of float32 tensors on `device` here: autocast's, or float32."""
    kind = device.type
    enabled = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if enabled else torch.float32
