"""The device of tensors: its free memory, copies to it, and the dtype that autocast gives to products there."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wnrl.host_memory import free_host_memory

__all__ = ["autocast_dtype", "check_memory", "free_memory", "to_device", "without_autocast"]


# Memory


def free_memory(device: torch.device | str) -> int:
    """Bytes that can still be allocated on `device`, including those that PyTorch has reserved and does not use.

    On the host, the least that the machine, the control groups of a container or job, and RLIMIT_AS leave.
    """
    device = torch.device(device)
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return free_host_memory()


def check_memory(
    needed_bytes: int,
    device: torch.device | str,
    steps: int | None = None,
    *,
    what: str = "",
    flag: str = "--replay-size",
) -> None:
    """Refuse a buffer that does not fit in the free memory of `device`.

    Args:
        needed_bytes: size of the buffer in bytes.
        device: where the buffer will be allocated.
        steps: capacity of the buffer in steps; with it the message gives the largest capacity that fits.
        what: the buffer in words; by default a replay of so many steps.
        flag: by which its capacity is chosen.

    Raises:
        ValueError: `needed_bytes` is more than what is free.
    """
    free = free_memory(device)
    if needed_bytes <= free:
        return
    what = what or ("a replay" if steps is None else f"a replay of {steps:,} steps")
    fits = 0 if steps is None else steps * free // needed_bytes
    advice = f"{flag} {fits} or less" if fits else f"a smaller {flag}"
    need = f"needs {needed_bytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free on {torch.device(device)}"
    raise ValueError(f"{what} {need}: use {advice}")


# Copies from the host


def to_device(array: Any, device: torch.device) -> Tensor:
    """Copy an array or tensor to `device` without synchronizing with it.

    Args:
        array: NumPy array or tensor. For a CUDA device it is copied to pinned memory first, so that it may be changed
            right after the call. On the CPU the result shares its memory.
        device: where the result is.
    """
    if not isinstance(array, Tensor):
        array = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    if device.type == "cuda" and not array.is_cuda:
        array = array.pin_memory()  # torch caches pinned memory, and reuses it only once the copy has ended
    return array.to(device, non_blocking=True)


# Autocast


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The dtype in which autocast computes products on `device`; None where it is off, or unknown to the device."""
    kind = device.type
    compiled = torch.compiler.is_compiling()  # torch 2.8 cannot compile the question
    known = kind != "meta" if compiled else kind in ("cpu", "cuda") or torch.amp.is_autocast_available(kind)
    enabled = known and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if enabled else None


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """A context in which operations on `device` keep their inputs' dtype."""
    return nullcontext() if autocast_dtype(device) is None else torch.autocast(device.type, enabled=False)
