"""A strided convolution, computed on CUDA as one of stride 1 over blocks of pixels: the same function, sooner there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn import functional as F

DEVICES: tuple[str, ...] = ("cuda",)
"""Where it pays: on a CPU the plain convolution of the Nature network takes less time."""


class SpaceToDepthConv2d(nn.Conv2d):
    """`torch.nn.Conv2d` with the same arguments, parameters and function.

    Where kernel and stride divide, without padding, dilation or groups, a kernel of 8 × 8 with stride 4 over
    `[B, C, 84, 84]` is one of 2 × 2 with stride 1 over `[B, 16·C, 21, 21]`. The input and the effective weight are
    rearranged at each pass, so normalizers, hooks and state dicts see the plain layer's tensors.
    """

    same_conv_forward: ClassVar[Any]
    """What `_conv_forward` is, unless a subclass changes it: linear in the weight, as torch's."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self._is_rearranged(input):
            return space_to_depth_conv2d(input, weight, bias, self.stride)
        return super()._conv_forward(input, weight, bias)

    def _is_rearranged(self, input: Any) -> bool:
        """Whether the input is one for which it pays; what is traced or exported stays one convolution."""
        if isinstance(input, Proxy) or torch.jit.is_tracing() or _is_exporting():
            return False
        return input.device.type in DEVICES and input.ndim == 4 and can_be_rearranged(self)


SpaceToDepthConv2d.same_conv_forward = SpaceToDepthConv2d._conv_forward


def _is_exporting() -> bool:
    """Whether torch.export traces: torch 2.8's own function says so under torch.compile too."""
    flag = getattr(torch.compiler, "_is_exporting_flag", None)
    return torch.compiler.is_exporting() if flag is None else flag


def can_be_rearranged(layer: nn.Conv2d) -> bool:
    """Whether `space_to_depth_conv2d` has the function of the layer, and another kernel than it."""
    plain = layer.padding in ((0, 0), "valid") and tuple(layer.dilation) == (1, 1) and layer.groups == 1
    sizes = zip(layer.kernel_size, layer.stride, strict=True)
    return plain and all(kernel % stride == 0 for kernel, stride in sizes) and tuple(layer.stride) != (1, 1)


def space_to_depth_conv2d(input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int]) -> Tensor:
    """`F.conv2d(input, weight, bias, stride)` as a convolution of stride 1 over blocks of `stride` pixels.

    Args:
        input: `[B, C, H, W]`; the fastest way is from channels-last memory, in which the result is too.
        weight: `[out, C, kh, kw]`.
        bias: `[out]` or None.
        stride: of height and width, which divide kh and kw.
    """
    down, right = stride
    (height, width), (rows, columns) = weight.shape[2:], input.shape[2:]
    reached = input[:, :, : rows - (rows - height) % down, : columns - (columns - width) % right]
    return F.conv2d(_blocks(reached, down, right), _blocks(weight, down, right), bias)


def _blocks(images: Tensor, down: int, right: int) -> Tensor:
    """`[B, C, H, W]` as `[B, down·right·C, H/down, W/right]`, in channels-last memory."""
    size, channels, height, width = images.shape
    parts = images.reshape(size, channels, height // down, down, width // right, right)
    moved = parts.permute(0, 2, 4, 3, 5, 1)  # [B, H/down, W/right, down, right, C]
    return moved.reshape(size, height // down, width // right, down * right * channels).permute(0, 3, 1, 2)
