"""A cheap twin of a weight-normalized layer for acting, with precomputed norms of its rows."""

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

    It shares v with its layer and stores one number per row, so that a refresh only reads v, where a fold would write
    w; in return each call makes one more pass over the outputs. For use without gradients. Other attributes are its
    layer's. It cannot be called before its first `refresh`.

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
        state |= {"gain": scales.view(-1, *[1] * (-1 - own.channel_dim))}  # [out, 1, 1] for images
        vars(self).update(state)  # registers nothing: the layer is not a submodule
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """As the layer; under autocast only the product is in its dtype."""
        return torch.addcmul(self.shift, self.product(x, self.v), self.gain)

    def __getattr__(self, name: str) -> Any:
        """Attributes of the layer, such as sizes and the effective weight."""
        return getattr(vars(self)["layer"], name)

    def refresh(self) -> None:
        """Compute k and b again; to be called without gradients."""
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
        """Whether the layer still has this twin's device and dtype."""
        v, scales = self.layer.v, self.scales
        return v.dtype == scales.dtype and v.device == scales.device


def can_be_scaled(layer: NormalizedLayer) -> bool:
    """Whether a `ScaledTwin` of `layer` can be made and is cheaper than a fold.

    For dense layers and convolutions in float32 or float64 on the CPU, with or without mean-only batch normalization.
    On other devices, where an operation costs as much as its launch, the additional one would cost more than writing w.
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
