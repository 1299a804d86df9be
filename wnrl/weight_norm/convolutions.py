"""Weight-normalized convolutions and transposed convolutions in one, two and three dimensions.

Each output channel is a unit with one row of weights, `[in/groups, *kernel]`. In a transposed convolution the output
channel is dimension 1 of the weight `[in, out/groups, *kernel]`, and each group has its own rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn import functional as F

from wnrl.weight_norm.factors import kept_factors
from wnrl.weight_norm.formula import effective_weight
from wnrl.weight_norm.rows import rows
from wnrl.weight_norm.units import gain_of_g
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer, called_as_a_whole, computed


class _Convolution(WeightNormLayer):
    _conv_forward: Callable[..., Tensor]
    _plain_conv_forward: ClassVar[Callable[..., Tensor]]  # of torch's class

    def forward(self, input: Tensor) -> Tensor:
        """`[B, in_channels, ...]` to `[B, out_channels, ...]`."""
        if isinstance(input, Proxy):
            return called_as_a_whole(self, input)
        kind = type(self)
        linear = kind._conv_forward in (self._plain_conv_forward, getattr(kind, "same_conv_forward", None))
        kept = kept_factors(self) if linear else None
        if kept is not None:
            return self.pass_with(kept, partial(self._conv_forward, input))
        return self._conv_forward(input, self.effective_weight(), self.bias)


class WeightNormConv1d(_Convolution, nn.Conv1d):
    """A weight-normalized `torch.nn.Conv1d`: `[B, in, L]` to `[B, out, L']`; same arguments.

    Initialized as the plain layer. Units of `g`, parameters and errors: see `WeightNormLayer`.
    """

    plain_class = nn.Conv1d
    _plain_conv_forward = staticmethod(nn.Conv1d._conv_forward)
    channel_dim = -2
    weight = computed("weight")


class WeightNormConv2d(_Convolution, nn.Conv2d):
    """A weight-normalized `torch.nn.Conv2d`: `[B, in, H, W]` to `[B, out, H', W']`; same arguments.

    Initialized as the plain layer. Units of `g`, parameters and errors: see `WeightNormLayer`.
    """

    plain_class = nn.Conv2d
    _plain_conv_forward = staticmethod(nn.Conv2d._conv_forward)
    channel_dim = -3
    weight = computed("weight")


class WeightNormConv3d(_Convolution, nn.Conv3d):
    """A weight-normalized `torch.nn.Conv3d`: `[B, in, D, H, W]` to `[B, out, D', H', W']`; same arguments.

    Initialized as the plain layer. Units of `g`, parameters and errors: see `WeightNormLayer`.
    """

    plain_class = nn.Conv3d
    _plain_conv_forward = staticmethod(nn.Conv3d._conv_forward)
    channel_dim = -4
    weight = computed("weight")


class _TransposedConvolution(WeightNormLayer):
    _rows_first = False
    convolve: ClassVar[Callable[..., Tensor]]

    def effective_weight(self, name: str = "weight") -> Tensor:
        """The effective weight as an ordinary tensor, of the shape of `v`, whose rows are not along dimension 0."""
        v, g = self.pair(name)
        by_row = effective_weight(rows(self, v), gain_of_g(g, self.units), self._scales[name], ballast=self._ballast)
        return rows(self, by_row)

    def _divisors(self, v: Tensor) -> Tensor | None:
        """As in the base class."""
        return super()._divisors(rows(self, v))

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """`[B, in_channels, ...]` to `[B, out_channels, ...]`; `output_size` as in the plain layer."""
        layer: Any = self
        if isinstance(input, Proxy):
            return called_as_a_whole(self, input, output_size)
        if layer.padding_mode != "zeros":
            raise ValueError("Only `zeros` padding mode is supported for transposed convolutions")
        size, dims = (layer.stride, layer.padding), -1 - self.channel_dim
        extra = layer._output_padding(input, output_size, *size, layer.kernel_size, dims, layer.dilation)
        rest = (*size, extra, layer.groups, layer.dilation)
        kept = kept_factors(self)
        if kept is not None:
            return self.pass_with(kept, lambda weight, bias: self.convolve(input, weight, bias, *rest))
        return self.convolve(input, self.effective_weight(), self.bias, *rest)


class WeightNormConvTranspose1d(_TransposedConvolution, nn.ConvTranspose1d):
    """A weight-normalized `torch.nn.ConvTranspose1d`: `[B, in, L]` to `[B, out, L']`; same arguments.

    Initialized as the plain layer. Units of `g`, parameters and errors: see `WeightNormLayer`.
    """

    plain_class = nn.ConvTranspose1d
    channel_dim = -2
    convolve = staticmethod(F.conv_transpose1d)
    weight = computed("weight")


class WeightNormConvTranspose2d(_TransposedConvolution, nn.ConvTranspose2d):
    """A weight-normalized `torch.nn.ConvTranspose2d`: `[B, in, H, W]` to `[B, out, H', W']`; same arguments.

    Initialized as the plain layer. Units of `g`, parameters and errors: see `WeightNormLayer`.
    """

    plain_class = nn.ConvTranspose2d
    channel_dim = -3
    convolve = staticmethod(F.conv_transpose2d)
    weight = computed("weight")


class WeightNormConvTranspose3d(_TransposedConvolution, nn.ConvTranspose3d):
    """A weight-normalized `torch.nn.ConvTranspose3d`: `[B, in, D, H, W]` to `[B, out, D', H', W']`; same arguments.

    Initialized as the plain layer. Units of `g`, parameters and errors: see `WeightNormLayer`.
    """

    plain_class = nn.ConvTranspose3d
    channel_dim = -4
    convolve = staticmethod(F.conv_transpose3d)
    weight = computed("weight")
