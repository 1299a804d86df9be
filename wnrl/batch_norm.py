"""Batch normalization, and mean-only batch normalization on top of weight normalization."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wnrl.normalized_layer import NormalizedLayer
from wnrl.rows import rows, scale_rows
from wnrl.weight_norm import WeightNormLayer

MOMENTUM = 0.1  # share of a new minibatch in the running statistics (the paper's code: 0.9 old, 0.1 new)
EPSILON = 1e-5


class MeanOnlyBatchNorm(nn.Module):
    """t̃ = t − μ[t] + b (Salimans & Kingma 2016, equation 7), μ[t] over the minibatch, at evaluation its running mean.

    The gradient is ∇t = ∇t̃ − μ[∇t̃] (section 4). Means are taken in float32.

    Args:
        features: units; their dimension is `channel_dim` of the input, everything else is averaged over.
        channel_dim: −1 for dense layers, −3 for images.
        momentum: share of a new minibatch in the running mean.

    Raises:
        ValueError: one value per unit in training: its mean is itself.
    """

    running_mean: Tensor

    def __init__(self, features: int, channel_dim: int = -1, momentum: float = MOMENTUM) -> None:
        super().__init__()
        self.channel_dim, self.momentum = channel_dim, momentum
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))

    def forward(self, t: Tensor) -> Tensor:
        """Of the shape and type of `t`."""
        rows = t.movedim(self.channel_dim, -1)  # [..., features]
        mean = self._minibatch_mean(rows) if self.training else self.running_mean
        return (rows + (self.bias - mean)).to(t.dtype).movedim(-1, self.channel_dim)

    def _minibatch_mean(self, rows: Tensor) -> Tensor:
        if rows.numel() <= rows.shape[-1]:
            raise ValueError("mean-only batch normalization needs more than one value per unit in training: batch more")
        mean = rows.mean(dim=tuple(range(rows.ndim - 1)), dtype=self.running_mean.dtype)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
        return mean

    def extra_repr(self) -> str:
        """Units, their dimension and the momentum."""
        return f"{len(self.bias)}, channel_dim={self.channel_dim}, momentum={self.momentum}"


class BatchNorm(nn.Module):
    """Batch normalization (Ioffe & Szegedy 2015, algorithm 1) along any channel dimension.

    As `torch.nn.BatchNorm1d` to `3d`, with a state of floating-point tensors only.

    Args:
        features: units; their dimension is `channel_dim` of the input, everything else is averaged over.
        channel_dim: −1 for dense layers, −3 for images.
        momentum: share of a new minibatch in the running statistics.
        eps: added to the variance.

    Raises:
        ValueError: one value per unit in training.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, channel_dim: int = -1, momentum: float = MOMENTUM, eps: float = EPSILON) -> None:
        super().__init__()
        self.channel_dim, self.momentum, self.eps = channel_dim, momentum, eps
        self.weight, self.bias = nn.Parameter(torch.empty(features)), nn.Parameter(torch.empty(features))
        self.register_buffer("running_mean", torch.empty(features))
        self.register_buffer("running_var", torch.empty(features))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Begin anew: in evaluation mode the identity."""
        self.weight.fill_(1.0)
        self.bias.zero_()
        self.running_mean.zero_()
        self.running_var.fill_(1 - self.eps)

    def forward(self, t: Tensor) -> Tensor:
        """Of the shape and type of `t`."""
        lead = t.shape[: self.channel_dim]
        batch = t.reshape(-1, *t.shape[self.channel_dim :])  # [B, features, ...]
        statistics, affine = (self.running_mean, self.running_var), (self.weight, self.bias)
        normalized = F.batch_norm(batch, *statistics, *affine, self.training, self.momentum, self.eps)
        return normalized.reshape(*lead, *normalized.shape[1:])

    def extra_repr(self) -> str:
        """Units, their dimension, momentum and eps."""
        return f"{len(self.bias)}, channel_dim={self.channel_dim}, momentum={self.momentum}, eps={self.eps}"


class MeanBatchNormalized(NormalizedLayer):
    """A weight-normalized layer, followed by mean-only batch normalization with the layer's bias."""

    def __init__(self, layer: WeightNormLayer) -> None:
        super().__init__()
        self.layer = layer
        self.norm = MeanOnlyBatchNorm(len(layer.g), layer.channel_dim).to(layer.v)
        if layer.bias is not None:
            self.norm.bias.data.copy_(layer.bias.data)
        layer.bias = None
        self.train(layer.training)

    def forward(self, *inputs: Tensor) -> Tensor:
        """As the plain layer."""
        return self.norm(self.layer(*inputs))

    def fold(self) -> nn.Module:
        """The plain layer whose bias has the running mean taken off."""
        plain = self.layer.fold()
        plain.register_parameter("bias", nn.Parameter(self.folded()["bias"].detach(), self.norm.bias.requires_grad))
        return plain

    def folded(self) -> dict[str, Tensor]:
        """The plain layer's weight and bias."""
        return {"weight": self.layer.effective_weight(), "bias": self.norm.bias - self.norm.running_mean}

    @torch.no_grad()
    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """Take on a plain layer's weight and bias; the running mean begins anew."""
        self.layer.set_weight(parameters["weight"])
        self.norm.running_mean.zero_()
        self.norm.bias.copy_(parameters["bias"])


class BatchNormalized(NormalizedLayer):
    """A plain layer, followed by batch normalization, whose shift takes the place of the layer's bias."""

    def __init__(self, layer: nn.Module, channel_dim: int) -> None:
        super().__init__()
        weight: Any = layer.weight
        bias: Any = layer.bias
        self.layer: Any = layer
        self.norm = BatchNorm(len(rows(layer, weight)), channel_dim).to(weight)
        if bias is not None:
            self.norm.bias.data.copy_(bias.data)
        layer.register_parameter("bias", None)
        self.train(layer.training)

    def forward(self, *inputs: Tensor) -> Tensor:
        """As the plain layer."""
        return self.norm(self.layer(*inputs))

    def fold(self) -> nn.Module:
        """The plain layer that has the running statistics in its weight and bias."""
        plain = copy.deepcopy(self.layer)
        for name, value in self.folded().items():
            plain.register_parameter(name, nn.Parameter(value.detach(), requires_grad=True))
        return plain

    def folded(self) -> dict[str, Tensor]:
        """The plain layer's weight and bias: (w/σ) γ and β − μ γ/σ, with the running μ and σ."""
        factor = self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()
        weight = scale_rows(self.layer, self.layer.weight, factor)
        return {"weight": weight, "bias": self.norm.bias - self.norm.running_mean * factor}

    @torch.no_grad()
    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """Take on a plain layer's weight and bias; the running statistics begin anew."""
        self.layer.weight.copy_(parameters["weight"])
        self.norm.reset_parameters()
        self.norm.bias.copy_(parameters["bias"])
