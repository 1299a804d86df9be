"""How torch uses the hardware during a run: as few threads as serve it and the fastest convolutions; put back later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

SMALL = 100_000  # parameters: of two layers of 256, which a second thread slows down in batches of up to 256


def is_small(network: nn.Module) -> bool:
    """Whether a second thread on a CPU costs more than it computes: few parameters, none of a convolution."""
    convolves = any(isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) for module in network.modules())
    return not convolves and sum(parameter.numel() for parameter in network.parameters()) < SMALL


@contextmanager
def tuned(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Within it, torch is set for a run of `network` on `device`.

    On CUDA one thread launches the work, and others would only keep emulators from their cores; cuDNN times its
    algorithms for each shape at its first use, and takes the fastest. On a CPU a small network has one thread.
    """
    on_cuda = device.type == "cuda"
    threads, chosen = torch.get_num_threads(), torch.backends.cudnn.benchmark
    if on_cuda or is_small(network):
        torch.set_num_threads(1)
    if on_cuda:
        torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = chosen
