"""Defaults that depend on the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from shutil import which

from agents.settings.presets.base import Values

GAMES_PER_CORE = 4
MOST_GAMES = 64  # more are no faster on 16 cores


def games_beside_a_gpu(flags: Mapping[str, str]) -> Values:
    """Games enough to keep all cores busy where a GPU learns; nothing on a CPU, whose cores learn too.

    Args:
        flags: the flags that are given; --device is one.
    """
    if flags.get("device", "auto").startswith("cpu") or not has_gpu():
        return {}
    from envs.atari import usable_cores  # brings the emulator

    return {"num_envs": max(8, min(MOST_GAMES, GAMES_PER_CORE * usable_cores()) // 8 * 8)}


def has_gpu() -> bool:
    """Whether torch sees a CUDA device; where there is no driver, torch is not imported to know that."""
    if which("nvidia-smi") is None and not os.path.exists("/proc/driver/nvidia"):
        return False
    import torch

    return torch.cuda.is_available()
