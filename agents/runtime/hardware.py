"""How torch uses the hardware during a run on a GPU: one thread, and the fastest convolutions; put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def tuned(device: torch.device) -> Iterator[None]:
    """Within it, torch is set for a run whose networks are on `device`; on a CPU nothing is changed.

    On CUDA one thread launches the work, and others would only keep emulators from their cores. cuDNN times its
    algorithms for each shape at its first use, and takes the fastest.
    """
    if device.type != "cuda":
        yield
        return
    threads, chosen = torch.get_num_threads(), torch.backends.cudnn.benchmark
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = chosen
