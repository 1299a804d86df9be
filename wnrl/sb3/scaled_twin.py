"""A weight-normalized layer that acts, with the norms of its rows kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from wnrl.batch_norm import MeanBatchNormalized
from wnrl.normalized_layer import NormalizedLayer
from wnrl.weight_norm import WeightNormLayer, WeightNormLinear

Product = Callable[[Tensor, Tensor], Tensor]  # of an input and v


class ScaledTwin(nn.Module):
    """y = k (v·x) + b of a weight-normalized layer in evaluation mode, with k = g/‖v‖ as it was at the last `refresh`.

    It shares v with its layer and keeps one number a row, so that a change costs one look at v, where w would have to
    be written; each call pays for it with one more pass over the outputs. For use without gradients. What it has not
    itself is its layer's. Until its first `refresh` it cannot be called.

    Args:
        layer: one for which `can_be_scaled`.
    """

    layer: WeightNormLayer
    bias_of: NormalizedLayer

    def __init__(self, layer: NormalizedLayer) -> None:
        super().__init__()
        own: Any = layer.layer if isinstance(layer, MeanBatchNormalized) else layer
        rows, columns = len(own.g), (-1, *[1] * (-1 - own.channel_dim))  # [out, 1, 1] beside images
        scales = torch.empty(rows, dtype=own.v.dtype, device=own.v.device)
        values = {"layer": own, "bias_of": layer, "product": _product(own), "norms": torch.empty_like(scales)}
        values |= {"scales": scales, "columns": columns, "gain": scales.view(columns), "zero": scales.new_zeros(())}
        vars(self).update(values)  # which registers nothing: the layer is no part of this module
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """As the layer."""
        t = self.product(x, self.v)
        return torch.addcmul(self.shift, t.to(self.gain.dtype), self.gain).to(t.dtype)

    def __getattr__(self, name: str) -> Any:
        """What the layer has: sizes, the effective weight."""
        return getattr(vars(self)["layer"], name)

    @torch.no_grad()
    def refresh(self) -> None:
        """Bring k up to date, and b."""
        v, norms = self.layer.v, self.norms
        torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), out=norms)
        torch.threshold_(norms, 0.0, math.inf)  # a zero row gives zeros
        torch.addcdiv(self.zero, self.layer.gain(), norms, value=self.layer.scale, out=self.scales)
        vars(self).update(v=v, shift=self._shift())

    def _shift(self) -> Tensor:
        """b, `[out]` or with dimensions for positions."""
        if isinstance(self.bias_of, MeanBatchNormalized):
            norm = self.bias_of.norm
            return (norm.bias - norm.running_mean).view(self.columns)
        bias = self.layer.bias
        return self.zero if bias is None else bias.view(self.columns)

    def fits(self) -> bool:
        """Whether the layer is still of this twin's device and type."""
        v, scales = self.layer.v, self.scales
        return v.dtype == scales.dtype and v.device == scales.device


def can_be_scaled(layer: NormalizedLayer) -> bool:
    """Whether a `ScaledTwin` stands for `layer`, in float32 or float64 on the CPU.

    For dense layers and convolutions, with mean-only batch normalization or without. On other devices, where an
    operation costs as much as its launch, two in the place of one would be dearer than writing w.
    """
    own = layer.layer if isinstance(layer, MeanBatchNormalized) else layer
    return (
        isinstance(own, WeightNormLayer)
        and issubclass(own.plain_class, (nn.Linear, _ConvNd))
        and not issubclass(own.plain_class, _ConvTransposeNd)
        and own.v.device.type == "cpu"
        and own.v.dtype in (torch.float32, torch.float64)
    )


def _product(layer: WeightNormLayer) -> Product:
    if isinstance(layer, WeightNormLinear):
        return F.linear
    convolve = cast(Any, layer.plain_class)._conv_forward
    return lambda x, v: convolve(layer, x, v, None)
