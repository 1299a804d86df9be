"""Observations on the scale of all that were seen before."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class RunningNorm(nn.Module):
    """(x − mean)/√(variance + eps), clipped, with the statistics of everything that `update` was given.

    The statistics are merged batch by batch (Chan, Golub & LeVeque 1979), in float64. Until the first update the mean
    is 0 and the variance 1. They are buffers `running_mean` and `running_var` `[*shape]` and `running_count` `[]`; the
    mode of the module changes nothing.

    Args:
        shape: of one observation.
        clip: greatest size of an output.
        eps: added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor
    running_count: Tensor

    def __init__(self, shape: Sequence[int], clip: float = 10.0, eps: float = 1e-8) -> None:
        super().__init__()
        self.shape, self.clip, self.eps = tuple(shape), clip, eps
        self.register_buffer("running_mean", torch.zeros(self.shape, dtype=torch.float64))
        self.register_buffer("running_var", torch.ones(self.shape, dtype=torch.float64))
        self.register_buffer("running_count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, batch: Tensor) -> None:
        """Take observations `[B, *shape]` into the statistics, in place; further leading dimensions may stand for B.

        Raises:
            ValueError: observations of another shape, or none.
        """
        leading = batch.ndim - len(self.shape)
        if leading < 1 or batch.shape[leading:] != self.shape or not batch.numel():
            raise ValueError(f"expected [B, {str(list(self.shape))[1:-1]}] with B > 0, got {list(batch.shape)}")
        values = batch.to(self.running_mean.dtype).flatten(0, leading - 1)
        var, mean = torch.var_mean(values, dim=0, correction=0)
        self.running_count += len(values)
        share, distance = len(values) / self.running_count, mean - self.running_mean
        self.running_mean += share * distance
        self.running_var += share * (var - self.running_var + (1 - share) * distance.square())

    def forward(self, x: Tensor) -> Tensor:
        """`[..., *shape]` to float32 of the same shape."""
        normalized = (x - self.running_mean) * (self.running_var + self.eps).rsqrt()
        return normalized.clamp(-self.clip, self.clip).float()

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"{self.shape}, clip={self.clip}, eps={self.eps}"


class NoNorm(nn.Identity):
    """In the place of a `RunningNorm`: observations stay as they are, and no statistics are kept."""

    def update(self, batch: Tensor) -> None:
        """Nothing."""
