"""A weight-normalized layer that acts, with the norms of its rows kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from wnrl.normalizers.batch_norm import MeanBatchNormalized
from wnrl.weight_norm.dense import WeightNormLayer, WeightNormLinear, effective_gain
from wnrl.weight_norm.normalized_layer import NormalizedLayer

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
        scales = torch.empty_like(own.g, requires_grad=False)
        state = {"layer": own, "bias_of": layer, "product": _product(own), "dims": tuple(range(1, own.v.ndim))}
        state |= {"norms": torch.empty_like(scales), "scales": scales, "zero": scales.new_zeros(())}
        state |= {"gain": scales.view(-1, *[1] * (-1 - own.channel_dim))}  # [out, 1, 1] beside images
        vars(self).update(state)  # which registers nothing: the layer is no part of this module
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """As the layer; under autocast the product alone is in its type."""
        return torch.addcmul(self.shift, self.product(x, self.v), self.gain)

    def __getattr__(self, name: str) -> Any:
        """What the layer has: sizes, the effective weight."""
        return getattr(vars(self)["layer"], name)

    def refresh(self) -> None:
        """Bring k and b up to date; to be called without gradients."""
        own: Any = self.layer._parameters
        v, norms = own["v"], self.norms
        torch.linalg.vector_norm(v, dim=self.dims, out=norms)
        torch.threshold_(norms, 0.0, math.inf)  # a zero row gives zeros
        torch.addcdiv(
            self.zero, effective_gain(own["g"], self.layer.units), norms, value=self.layer.scale, out=self.scales
        )
        vars(self).update(v=v, shift=self._shift(own["bias"]))

    def _shift(self, bias: Tensor | None) -> Tensor:
        """b, `[out]` or with dimensions for positions."""
        if isinstance(self.bias_of, MeanBatchNormalized):
            bias = self.bias_of.norm.bias - self.bias_of.norm.running_mean
        if bias is None:
            return self.zero
        return bias if self.gain.ndim == 1 else bias.view(self.gain.shape)

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
