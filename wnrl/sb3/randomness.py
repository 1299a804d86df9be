"""Global random generators, which stable-baselines3 draws from, as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["same_randomness"]


@contextmanager
def same_randomness(device: torch.device | None = None) -> Iterator[None]:
    """A context after which the global generators of Python, NumPy and torch are as before it.

    Args:
        device: of torch's generator, besides the CPU's, if it is one of CUDA.
    """
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device is not None and device.type == "cuda" else []):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
