"""Weight-normalized convolutions and transposed convolutions in one, two and three dimensions.

Each output channel is a unit with one row of weights, `[in/groups, *kernel]`. In a transposed convolution the output
channel is dimension 1 of the weight `[in, out/groups, *kernel]`, and each group has its own rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, cast

from torch import Tensor, nn
from torch.nn import functional as F

from wnrl.weight_norm.dense import Units, WeightNormLayer
from wnrl.weight_norm.formula import effective_weight
from wnrl.weight_norm.rows import rows


class _Convolution(WeightNormLayer):
    arguments: ClassVar[tuple[str, ...]] = (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "dilation",
        "groups",
        "padding_mode",
    )
    in_channels: int
    out_channels: int
    groups: int

    def __init__(self, *arguments: Any, units: Units = "sqrt", **keywords: Any) -> None:
        super().__init__(self.plain_class(*arguments, **keywords), units)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, in_channels, ...]` to `[B, out_channels, ...]`."""
        return self.plain_class._conv_forward(cast(Any, self), x, self.effective_weight(), self.bias)  # type: ignore


class WeightNormConv1d(_Convolution):
    """A weight-normalized `torch.nn.Conv1d`: `[B, in, L]` to `[B, out, L']`; same arguments.

    Initialized as the plain layer. Units of `g`, parameters and errors: see `WeightNormLayer`.
    """

    plain_class = nn.Conv1d
    channel_dim = -2


class WeightNormConv2d(_Convolution):
    """A weight-normalized `torch.nn.Conv2d`: `[B, in, H, W]` to `[B, out, H', W']`; same arguments.

    Initialized as the plain layer. Units of `g`, parameters and errors: see `WeightNormLayer`.
    """

    plain_class = nn.Conv2d
    channel_dim = -3


class WeightNormConv3d(_Convolution):
    """A weight-normalized `torch.nn.Conv3d`: `[B, in, D, H, W]` to `[B, out, D', H', W']`; same arguments.

    Initialized as the plain layer. Units of `g`, parameters and errors: see `WeightNormLayer`.
    """

    plain_class = nn.Conv3d
    channel_dim = -4


class _TransposedConvolution(_Convolution):
    arguments = (*_Convolution.arguments, "output_padding")
    convolve: ClassVar[Callable[..., Tensor]]

    def effective_weight(self) -> Tensor:
        """The effective weight as an ordinary tensor, of the shape of `v`, whose rows are not along dimension 0."""
        return rows(self, effective_weight(rows(self, self.v), self.gain(), self.scale))

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """`[B, in_channels, ...]` to `[B, out_channels, ...]`; `output_size` as in the plain layer."""
        plain = cast(Any, self)
        dims = -1 - self.channel_dim
        extra = nn.ConvTranspose1d._output_padding(
            plain, x, output_size, plain.stride, plain.padding, plain.kernel_size, dims, plain.dilation
        )
        weight = self.effective_weight()
        return self.convolve(x, weight, self.bias, plain.stride, plain.padding, extra, self.groups, plain.dilation)


class WeightNormConvTranspose1d(_TransposedConvolution):
    """A weight-normalized `torch.nn.ConvTranspose1d`: `[B, in, L]` to `[B, out, L']`; same arguments.

    Initialized as the plain layer. Units of `g`, parameters and errors: see `WeightNormLayer`.
    """

    plain_class = nn.ConvTranspose1d
    channel_dim = -2
    convolve = staticmethod(F.conv_transpose1d)


class WeightNormConvTranspose2d(_TransposedConvolution):
    """A weight-normalized `torch.nn.ConvTranspose2d`: `[B, in, H, W]` to `[B, out, H', W']`; same arguments.

    Initialized as the plain layer. Units of `g`, parameters and errors: see `WeightNormLayer`.
    """

    plain_class = nn.ConvTranspose2d
    channel_dim = -3
    convolve = staticmethod(F.conv_transpose2d)


class WeightNormConvTranspose3d(_TransposedConvolution):
    """A weight-normalized `torch.nn.ConvTranspose3d`: `[B, in, D, H, W]` to `[B, out, D', H', W']`; same arguments.

    Initialized as the plain layer. Units of `g`, parameters and errors: see `WeightNormLayer`.
    """

    plain_class = nn.ConvTranspose3d
    channel_dim = -4
    convolve = staticmethod(F.conv_transpose3d)
