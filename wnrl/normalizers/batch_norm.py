"""Batch normalization, and mean-only batch normalization on top of weight normalization."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from wnrl.weight_norm.factors import drop, keep
from wnrl.weight_norm.normalized_layer import NormalizedLayer, mix_in
from wnrl.weight_norm.rows import channel_dim, has_own_forward, rows, scale_rows
from wnrl.weight_norm.stored_weights import Entries
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

if TYPE_CHECKING:
    from typing_extensions import Self

MOMENTUM = 0.1  # share of a new minibatch in the running statistics (the paper's code: 0.9 old, 0.1 new)
EPSILON = 1e-5


class MeanOnlyBatchNorm(nn.Module):
    """t̃ = t − μ[t] + b (Salimans & Kingma 2016, equation 7), μ[t] over the minibatch, at evaluation its running mean.

    The gradient is ∇t = ∇t̃ − μ[∇t̃] (section 4). Means are computed in at least float32.

    Args:
        features: units; their dimension is `channel_dim` of the input, everything else is averaged over.
        channel_dim: −1 for dense layers, −3 for images.
        momentum: share of a new minibatch in the running mean.

    Attributes:
        held: whether it takes its running mean in training too, and leaves it, see `batch_statistics`.
        counted: None, or the rows `[B]` of the minibatch that its mean is taken of, see `batch_statistics`.

    Raises:
        ValueError: another number of units, or only one value per unit in training, which would be its own mean.
    """

    running_mean: Tensor
    held = False
    counted: Tensor | None = None
    has_layers_bias = False

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
        check_units(self, t)
        mean = self._minibatch_mean(_counted_rows(self, t)) if uses_minibatch(self) else self.running_mean
        shift = self.bias - mean
        return (t + shift.view(-1, *[1] * (-1 - self.channel_dim))).to(t.dtype)

    def _minibatch_mean(self, t: Tensor) -> Tensor:
        dtype = torch.promote_types(self.running_mean.dtype, torch.float32)
        others = tuple(dim for dim in range(t.ndim) if dim != t.ndim + self.channel_dim)
        mean = t.mean(dim=others, dtype=dtype)
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        return mean

    def extra_repr(self) -> str:
        """Units, their dimension and the momentum."""
        return f"{len(self.bias)}, channel_dim={self.channel_dim}, momentum={self.momentum}"


class BatchNorm(_BatchNorm):
    """Batch normalization (Ioffe & Szegedy 2015, algorithm 1) along any channel dimension.

    As `torch.nn.BatchNorm1d` to `3d`, for which torch's tools take it, but all entries of its state_dict are
    floating-point, but for the number of minibatches, which is among them with `momentum=None`.

    Args:
        features: units; their dimension is `channel_dim` of the input, everything else is averaged over.
        channel_dim: −1 for dense layers, −3 for images.
        momentum: share of a new minibatch in the running statistics; None: their mean since they were reset.
        eps: added to the variance.

    Attributes:
        held: whether it takes its running statistics in training too, and leaves them.
        counted: None, or the rows `[B]` of the minibatch that its statistics are taken of.

    Raises:
        ValueError: another number of units, or only one value per unit in training.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    held = False
    counted: Tensor | None = None
    has_layers_bias = False

    def __init__(
        self, features: int, channel_dim: int = -1, momentum: float | None = MOMENTUM, eps: float = EPSILON
    ) -> None:
        super().__init__(features, eps, momentum)
        self.channel_dim = channel_dim
        del self.num_batches_tracked
        counted = momentum is None  # in whole numbers, which a change of dtype leaves exact
        count = torch.zeros((), dtype=torch.long if counted else torch.float32)
        self.register_buffer("num_batches_tracked", count, persistent=counted)
        self.reset_parameters()

    @torch.no_grad()
    def reset_running_stats(self) -> None:
        """Reset the statistics: the identity in evaluation mode."""
        self.running_mean.zero_()
        self.running_var.fill_(1 - self.eps)
        self.num_batches_tracked.zero_()

    def forward(self, input: Tensor) -> Tensor:
        """The normalized input, of its shape and dtype."""
        check_units(self, input)
        batch = self._flat(input)
        mean, variance, momentum, training = self.running_mean, self.running_var, self.momentum, uses_minibatch(self)
        if training and momentum is None:
            self.num_batches_tracked.add_(1)
            momentum = 1 / float(self.num_batches_tracked)
        if training and (counted := _counted_rows(self, input)) is not input:
            return self._normalized_by(self._flat(counted), batch, momentum or 0.0).to(input.dtype).reshape(input.shape)
        if not training and torch.is_grad_enabled() and not torch.jit.is_tracing():
            # the backward pass reads them, and a training pass before it could change them
            mean, variance = mean.clone(), variance.clone()
        output = F.batch_norm(batch, mean, variance, self.weight, self.bias, training, momentum or 0.0, self.eps)
        return output if input.ndim == 1 - self.channel_dim else output.reshape(input.shape)  # FSDP warns of views

    def _flat(self, input: Tensor) -> Tensor:
        """`[B, features, ...]`."""
        return input.reshape(math.prod(input.shape[: self.channel_dim]), *input.shape[self.channel_dim :])

    def _normalized_by(self, counted: Tensor, batch: Tensor, momentum: float) -> Tensor:
        """`batch` by the statistics of `counted`, both `[B, features, ...]`, towards which the running ones move."""
        dtype = torch.promote_types(self.running_mean.dtype, torch.float32)
        others = tuple(dim for dim in range(counted.ndim) if dim != 1)
        variance, mean = torch.var_mean(counted.to(dtype), dim=others, correction=0, keepdim=True)
        number = counted.numel() // len(self.bias)
        with torch.no_grad():
            self.running_mean.lerp_(mean.flatten().to(self.running_mean.dtype), momentum)
            unbiased = variance.flatten() * (number / (number - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)
        weight, bias = (parameter.view_as(mean) for parameter in (self.weight, self.bias))
        return (batch - mean) * (variance + self.eps).rsqrt() * weight + bias

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        name = f"{prefix}num_batches_tracked"
        if "num_batches_tracked" in self._non_persistent_buffers_set:
            state_dict.pop(name, None)  # of torch's layers
        else:
            state_dict.setdefault(name, self.num_batches_tracked)  # older states have none
        nn.Module._load_from_state_dict(self, state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        """Units, their dimension, momentum and eps."""
        return f"{len(self.bias)}, channel_dim={self.channel_dim}, momentum={self.momentum}, eps={self.eps}"


def uses_minibatch(norm: nn.Module) -> bool:
    """Whether a batch normalization, ours or torch's, takes the statistics of its minibatch now."""
    return norm.training and not getattr(norm, "held", False)


def _counted_rows(norm: MeanOnlyBatchNorm | BatchNorm, t: Tensor) -> Tensor:
    """The rows of `t` `[B, ...]` whose statistics count; `t` itself where all do, or where it has other rows."""
    if norm.counted is None or len(norm.counted) != len(t):
        return t
    counted = t[norm.counted]
    check_units(norm, counted)
    return counted


def check_units(norm: MeanOnlyBatchNorm | BatchNorm, t: Tensor) -> None:
    """Refuse inputs that would be broadcast silently, or whose values would be their own means."""
    if torch.jit.is_tracing():  # where sizes are tensors, and a comparison a constant of the trace
        return
    features, dim = len(norm.bias), norm.channel_dim
    if t.ndim < -dim or t.shape[dim] != features:
        raise ValueError(f"expected {features} units in dimension {dim}, got shape {tuple(t.shape)}")
    if uses_minibatch(norm) and t.numel() <= features:
        raise ValueError(f"in training each unit needs more than one value, got shape {tuple(t.shape)}: batch more")


class _OutputNormalized(NormalizedLayer):
    """A layer whose output is normalized by its submodule `norm`, which takes its bias.

    A subclass with a forward pass of its own keeps its bias, since it might not be added last, and is not folded.
    """

    own_parts = ("norm",)
    norm: Any

    @property
    def can_be_folded(self) -> bool:
        """Whether the forward pass is torch's, into whose weight and bias the normalization can be written."""
        return not has_own_forward(self.plain_class)

    @classmethod
    def _take_bias(cls, layer: nn.Module, norm: MeanOnlyBatchNorm | BatchNorm, weight: nn.Parameter) -> Self:
        """Register `norm`, with the bias of `layer`; frozen parameters stay frozen."""
        norm.to(weight).requires_grad_(weight.requires_grad)
        own = cast("Self", layer)
        if own.can_be_folded:
            bias = layer._parameters.get("bias")
            if bias is not None:
                norm.bias, norm.has_layers_bias = bias, True
            layer._parameters["bias"] = None
        layer.add_module("norm", norm.train(layer.training))
        return own

    def before_norm(self, *inputs: Any, **keywords: Any) -> Tensor:
        """The layer's output before its own normalization."""
        return super().forward(*inputs, **keywords)

    def reset_parameters(self) -> None:
        """Draw weight and bias again from the plain layer's default initialization; the statistics are reset."""
        self.norm.reset_parameters()
        lends = getattr(self.norm, "has_layers_bias", False)
        if lends:
            self._parameters["bias"] = self.norm.bias
        try:
            super().reset_parameters()  # type: ignore[misc]
        finally:
            if lends:
                self._parameters["bias"] = None

    def holders(self) -> dict[str, nn.Parameter | None]:
        """The layer's own parameters, and the bias of its normalization."""
        return {**super().holders(), "bias": self.norm.bias}

    def complete_entries(self, entries: Entries) -> None:
        """The bias of a plain layer becomes that of the normalization, whose other entries make it the identity."""
        if any(key.startswith("norm.") for key in entries):
            return
        identity = {"weight": 1.0, "running_var": 1.0 - getattr(self.norm, "eps", 0.0)}
        for name, value in self.norm.state_dict().items():
            entries[f"norm.{name}"] = torch.full_like(value, identity.get(name, 0.0))
        if self.can_be_folded:
            entries["norm.bias"] = entries.pop("bias", entries["norm.bias"])

    def _with_norm(self) -> dict[str, Tensor]:
        """The parameters of a layer that is not folded."""
        return {**NormalizedLayer.folded(self), **dict(self.norm.named_parameters("norm"))}

    @torch.no_grad()
    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """As in the base class; the running statistics are reset."""
        self.norm.reset_parameters()
        unfold = super().unfold if "weight" in parameters else partial(NormalizedLayer.unfold, self)
        unfold(parameters)
        if self.can_be_folded:
            self.norm.bias.copy_(parameters["bias"])
        for name, parameter in self.norm.named_parameters("norm"):
            parameter.copy_(parameters.get(name, parameter))


class MeanBatchNormalized(_OutputNormalized):
    """A weight-normalized layer, followed by mean-only batch normalization with the layer's bias."""

    _label = "MeanBatchnorm"

    @classmethod
    def convert(cls, layer: nn.Module, kind: type[WeightNormLayer], **options: Any) -> Self:
        """Turn a plain layer into such a layer, in place; `kind` is the weight-normalized class of torch's layer."""
        kind.convert(layer, before=(cls,), **options)
        weights = cast(WeightNormLayer, layer)
        v, g = weights.pair()
        return cls._take_bias(layer, MeanOnlyBatchNorm(len(g), channel_dim(layer)), v)

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """As the plain layer."""
        t, norm = self.before_norm(*inputs, **keywords), self.norm
        own = (norm.bias, norm.running_mean)
        shift = None if uses_minibatch(norm) else keep(self, own, lambda: own, self._shift)
        return norm(t) if shift is None or shift.dtype is not t.dtype else t + shift

    def _shift(self) -> Tensor:
        """b − μ, of the shape that is added to the output."""
        return (self.norm.bias - self.norm.running_mean).view(-1, *[1] * (-1 - channel_dim(self)))

    def folded(self) -> dict[str, Tensor]:
        """The plain layer's parameters, with the running mean subtracted from its bias."""
        if not self.can_be_folded:
            return self._with_norm()
        return {**super().folded(), "bias": self.norm.bias - self.norm.running_mean}


class BatchNormalized(_OutputNormalized):
    """A plain layer, followed by batch normalization, whose shift replaces the layer's bias."""

    _label = "Batchnorm"

    weight: nn.Parameter

    @classmethod
    def convert(cls, layer: nn.Module, *mixins: type[NormalizedLayer]) -> Self:
        """Turn a plain layer into such a layer, in place; further mixins follow this one."""
        mix_in(layer, cls, *mixins)
        weight = cast(nn.Parameter, layer.weight)
        return cls._take_bias(layer, BatchNorm(len(rows(layer, weight)), channel_dim(layer)), weight)

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """As the plain layer."""
        t, norm = self.before_norm(*inputs, **keywords), self.norm
        if uses_minibatch(norm):
            drop(self)  # F.batch_norm moves the statistics, but not their version counters
        else:
            own = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
            kept = keep(self, own, lambda: own, self._factor_and_shift)
            if kept is not None and kept[0].dtype is t.dtype:
                return (t * kept[0]).add_(kept[1])
        if isinstance(norm, BatchNorm):
            return norm(t)
        return norm(t.reshape(-1, *t.shape[channel_dim(self) :])).reshape(t.shape)  # torch's SyncBatchNorm

    def folded(self) -> dict[str, Tensor]:
        """The plain layer's weight and bias: (w/σ) γ and β − μ γ/σ, with the running μ and σ."""
        if not self.can_be_folded:
            return self._with_norm()
        factor, shift = self._factor_and_shift(flat=True)
        plain = super().folded()
        return {**plain, "weight": scale_rows(self, plain["weight"], factor), "bias": shift}

    def _factor_and_shift(self, flat: bool = False) -> tuple[Tensor, Tensor]:
        """γ/σ and β − μ γ/σ, `[out]` or of the shape of the output."""
        factor = self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()
        shift = self.norm.bias - self.norm.running_mean * factor
        shape = [-1] if flat else [-1, *[1] * (-1 - channel_dim(self))]
        return factor.view(shape), shift.view(shape)
