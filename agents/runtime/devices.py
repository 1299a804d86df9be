"""Devices and precisions by name."""

from __future__ import annotations

import importlib.util
from typing import get_args

import torch

from agents.settings.run import Precision


def resolve_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA where available, otherwise the CPU.

    Raises:
        ValueError: the name is unknown to torch, or the device is not available or has no float64.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = ", ".join(["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))])
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name!r} is not available; this machine has {there}") from error
    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device {name!r} has no float64, which replay and returns need: use {there}") from error
    return device


def device_name(device: torch.device) -> str:
    """The device in words: with the name of a GPU, or the number of threads of a CPU."""
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread{'s' * (threads > 1)}" if device.type == "cpu" else str(device)


def resolve_graphs(graphs: bool | None, device: torch.device) -> bool:
    """Whether to capture work in CUDA graphs; None does so on CUDA.

    Raises:
        ValueError: graphs are requested on another device.
    """
    if graphs and device.type != "cuda":
        raise ValueError(f"graphs are captured on CUDA alone, and the device is {device}: leave --graphs out")
    return device.type == "cuda" if graphs is None else graphs


def missing_compiler(device: torch.device) -> str:
    """Why nothing can be compiled for `device`, in words; empty where that is not known before it is tried."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "Triton is not installed, which torch.compile needs on CUDA"
    return ""


def check_compiler(device: torch.device) -> None:
    """Compile something small for `device`.

    Raises:
        ValueError: there is no compiler.
    """
    try:
        torch.compile(torch.sin, fullgraph=True)(torch.zeros(2, device=device))
    except RuntimeError as error:
        reason = next(line for line in str(error).splitlines() if line and not line.endswith("raised:"))
        raise ValueError(f"compile needs a compiler for {device}, leave --compile out: {reason}") from error


def resolve_dtype(precision: Precision, device: torch.device, images: bool) -> torch.dtype:
    """The dtype of matrix products; `auto` is bfloat16 for images if the hardware supports it, otherwise float32.

    Raises:
        ValueError: an unknown precision.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"unknown precision {precision!r}: choose from {', '.join(get_args(Precision))}")
    if precision == "auto":
        return torch.bfloat16 if images and _multiplies_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and supported is not None and bool(supported())
