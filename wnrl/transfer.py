"""From the host's memory to a device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def to_device(array: Any, device: torch.device) -> Tensor:
    """An array or tensor on `device`, without waiting for work that the device has still to do.

    On its way to CUDA an array is copied to pinned memory, from where it goes by itself: it may be changed after the
    call. On a CPU the result shares the array's memory.
    """
    if not isinstance(array, Tensor):
        array = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    if device.type == "cuda" and not array.is_cuda:
        array = array.pin_memory()  # torch keeps such memory for reuse, and not before the copy has ended
    return array.to(device, non_blocking=True)
