"""Batch normalization, and mean-only batch normalization on top of weight normalization."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wnrl.weight_norm.dense import WeightNormLayer
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.rows import rows, scale_rows

MOMENTUM = 0.1  # share of a new minibatch in the running statistics (the paper's code: 0.9 old, 0.1 new)
EPSILON = 1e-5


class MeanOnlyBatchNorm(nn.Module):
    """t̃ = t − μ[t] + b (Salimans & Kingma 2016, equation 7), μ[t] over the minibatch, at evaluation its running mean.

    The gradient is ∇t = ∇t̃ − μ[∇t̃] (section 4). Means are computed in at least float32.

    Args:
        features: units; their dimension is `channel_dim` of the input, everything else is averaged over.
        channel_dim: −1 for dense layers, −3 for images.
        momentum: share of a new minibatch in the running mean.

    Raises:
        ValueError: another number of units, or only one value per unit in training, which would be its own mean.
    """

    running_mean: Tensor

    def __init__(self, features: int, channel_dim: int = -1, momentum: float = MOMENTUM) -> None:
        super().__init__()
        self.channel_dim, self.momentum = channel_dim, momentum
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Reset parameters and statistics: the identity in evaluation mode."""
        self.bias.zero_()
        self.running_mean.zero_()

    def forward(self, t: Tensor) -> Tensor:
        """The normalized `t`, of its shape and dtype."""
        _check_units(self, t)
        values = t.movedim(self.channel_dim, -1)  # [..., features]
        mean = self._minibatch_mean(values) if self.training else self.running_mean
        return (values + (self.bias - mean)).to(t.dtype).movedim(-1, self.channel_dim)

    def _minibatch_mean(self, values: Tensor) -> Tensor:
        dtype = torch.promote_types(self.running_mean.dtype, torch.float32)
        mean = values.mean(dim=tuple(range(values.ndim - 1)), dtype=dtype)
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        return mean

    def extra_repr(self) -> str:
        """Units, their dimension and the momentum."""
        return f"{len(self.bias)}, channel_dim={self.channel_dim}, momentum={self.momentum}"


class BatchNorm(nn.Module):
    """Batch normalization (Ioffe & Szegedy 2015, algorithm 1) along any channel dimension.

    As `torch.nn.BatchNorm1d` to `3d`, but all entries of its state_dict are floating-point.

    Args:
        features: units; their dimension is `channel_dim` of the input, everything else is averaged over.
        channel_dim: −1 for dense layers, −3 for images.
        momentum: share of a new minibatch in the running statistics.
        eps: added to the variance.

    Raises:
        ValueError: another number of units, or only one value per unit in training.
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
        """Reset parameters and statistics: the identity in evaluation mode."""
        self.weight.fill_(1.0)
        self.bias.zero_()
        self.running_mean.zero_()
        self.running_var.fill_(1 - self.eps)

    def forward(self, t: Tensor) -> Tensor:
        """The normalized `t`, of its shape and dtype."""
        _check_units(self, t)
        batch = t.reshape(-1, *t.shape[self.channel_dim :])  # [B, features, ...]
        mean, variance = self.running_mean, self.running_var
        if not self.training:  # the backward pass reads them, and a training pass before it could change them
            mean, variance = mean.clone(), variance.clone()
        return F.batch_norm(
            batch, mean, variance, self.weight, self.bias, self.training, self.momentum, self.eps
        ).reshape(t.shape)

    def extra_repr(self) -> str:
        """Units, their dimension, momentum and eps."""
        return f"{len(self.bias)}, channel_dim={self.channel_dim}, momentum={self.momentum}, eps={self.eps}"


def _check_units(norm: MeanOnlyBatchNorm | BatchNorm, t: Tensor) -> None:
    """Refuse inputs that would be broadcast silently, or whose values would be their own means."""
    features, dim = len(norm.bias), norm.channel_dim
    if t.ndim < -dim or t.shape[dim] != features:
        raise ValueError(f"expected {features} units in dimension {dim}, got shape {tuple(t.shape)}")
    if norm.training and t.numel() <= features:
        raise ValueError(f"in training each unit needs more than one value, got shape {tuple(t.shape)}: batch more")


class MeanBatchNormalized(NormalizedLayer):
    """A weight-normalized layer, followed by mean-only batch normalization with the layer's bias."""

    def __init__(self, layer: WeightNormLayer) -> None:
        super().__init__()
        self.layer = layer
        self.norm = MeanOnlyBatchNorm(len(layer.g), layer.channel_dim).to(layer.v)
        _take_bias(self.norm, layer, layer.v)
        self.train(layer.training)

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """As the plain layer."""
        return self.norm(self.layer(*inputs, **keywords))

    def fold(self) -> nn.Module:
        """The plain layer with the running mean subtracted from its bias."""
        plain = self.layer.fold()
        plain.register_parameter("bias", nn.Parameter(self.folded()["bias"].detach(), self.norm.bias.requires_grad))
        return plain

    def folded(self) -> dict[str, Tensor]:
        """The plain layer's weight and bias."""
        return {"weight": self.layer.effective_weight(), "bias": self.norm.bias - self.norm.running_mean}

    @torch.no_grad()
    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """As in the base class; the running mean is reset."""
        self.layer.set_weight(parameters["weight"])
        self.norm.running_mean.zero_()
        self.norm.bias.copy_(parameters["bias"])


class BatchNormalized(NormalizedLayer):
    """A plain layer, followed by batch normalization, whose shift replaces the layer's bias."""

    def __init__(self, layer: nn.Module, channel_dim: int) -> None:
        super().__init__()
        weight: Any = layer.weight
        self.layer: Any = layer
        self.norm = BatchNorm(len(rows(layer, weight)), channel_dim).to(weight)
        _take_bias(self.norm, layer, weight)
        self.train(layer.training)

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """As the plain layer."""
        return self.norm(self.layer(*inputs, **keywords))

    def fold(self) -> nn.Module:
        """The plain layer with the running statistics folded into its weight and bias."""
        plain = copy.deepcopy(self.layer)
        learned = {"weight": self.layer.weight.requires_grad, "bias": self.norm.bias.requires_grad}
        for name, value in self.folded().items():
            plain.register_parameter(name, nn.Parameter(value.detach(), learned[name]))
        return plain

    def folded(self) -> dict[str, Tensor]:
        """The plain layer's weight and bias: (w/σ) γ and β − μ γ/σ, with the running μ and σ."""
        factor = self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()
        weight = scale_rows(self.layer, self.layer.weight, factor)
        return {"weight": weight, "bias": self.norm.bias - self.norm.running_mean * factor}

    @torch.no_grad()
    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """As in the base class; the running statistics are reset."""
        self.layer.weight.copy_(parameters["weight"])
        self.norm.reset_parameters()
        self.norm.bias.copy_(parameters["bias"])


def _take_bias(norm: MeanOnlyBatchNorm | BatchNorm, layer: nn.Module, weight: Tensor) -> None:
    """Move the bias of `layer` into `norm`; frozen parameters stay frozen."""
    norm.requires_grad_(weight.requires_grad)
    bias = layer._parameters.get("bias")
    if bias is not None:
        norm.bias = nn.Parameter(bias.detach().clone(), bias.requires_grad)
    layer.register_parameter("bias", None)
