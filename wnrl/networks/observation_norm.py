"""Normalization of observations by their running mean and variance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class RunningNorm(nn.Module):
    """(x − mean)/√(variance + eps), clipped, with the statistics of all observations given to `update`.

    The statistics are merged batch by batch (Chan, Golub & LeVeque 1979), in float64. Before the first update the mean
    is 0 and the variance 1. They are buffers: `running_mean` and `running_var` `[*shape]`, `running_count` `[]`.
    Training and evaluation mode do not differ.

    Args:
        shape: shape of one observation.
        clip: outputs are clipped to [−clip, clip].
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
        """Add observations `[B, *shape]` to the statistics, in place; B may be several leading dimensions.

        Raises:
            ValueError: observations of another shape, or an empty batch.
        """
        leading = batch.ndim - len(self.shape)
        if leading < 1 or batch.shape[leading:] != self.shape or not batch.numel():
            raise ValueError(f"expected [B, {str(list(self.shape))[1:-1]}] with B > 0, got {list(batch.shape)}")
        values = batch.to(self.running_mean.dtype).flatten(0, leading - 1)
        var, mean = torch.var_mean(values, dim=0, correction=0)
        self.merge(len(values), mean, var)

    @torch.no_grad()
    def merge(self, count: int, mean: Tensor, var: Tensor) -> None:
        """Add so many observations with this mean and (biased) variance, `[*shape]` float64, to the statistics."""
        self.running_count += count
        share, distance = count / self.running_count, mean - self.running_mean
        self.running_mean += share * distance
        self.running_var += share * (var - self.running_var + (1 - share) * distance.square())

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x` `[..., *shape]`; the result is float32."""
        normalized = (x - self.running_mean) * (self.running_var + self.eps).rsqrt()
        return normalized.clamp(-self.clip, self.clip).float()

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"{self.shape}, clip={self.clip}, eps={self.eps}"


class NoNorm(nn.Identity):
    """Instead of a `RunningNorm`: observations are passed through, and no statistics are kept."""

    def update(self, batch: Tensor) -> None:
        """Do nothing."""
