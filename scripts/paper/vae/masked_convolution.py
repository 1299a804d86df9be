"""Convolutions whose outputs depend on what comes earlier alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wnrl import WeightNormLayer


class MaskedConv2d(nn.Conv2d):
    """A convolution for autoregressive networks: positions in reading order, and groups of channels within each.

    An output depends on earlier positions, and at its own position on the channels of earlier groups and, unless
    `strict`, of its own group. Masked weights are 0 and stay so, also under weight normalization: a row's length is
    then that of the weights that count, as in the code of Kingma et al. 2016.

    Args:
        inputs: input channels.
        outputs: output channels.
        groups_in_order: number of groups, into which input and output channels are divided in order.
        strict: whether an output sees no channel of its own group.
        kernel_size: odd; the size of the image stays.
    """

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, groups_in_order: int, *, strict: bool, kernel_size: int = 3) -> None:
        super().__init__(inputs, outputs, kernel_size, padding=kernel_size // 2)
        mask = causal_mask(inputs, outputs, groups_in_order, strict=strict, kernel_size=kernel_size)
        self.register_buffer("mask", mask, persistent=False)
        self.clear_masked()

    def forward(self, input: Tensor) -> Tensor:
        """`[B, inputs, H, W]` to `[B, outputs, H, W]`."""
        return F.conv2d(input, self.weight * self.mask, self.bias, padding=self.padding)

    @torch.no_grad()
    def clear_masked(self) -> None:
        """Set masked weights to 0, which changes no output: to be called after an initialization."""
        weight = self.weight * self.mask
        if isinstance(self, WeightNormLayer):
            self.set_weight(weight)
        else:
            self.weight.copy_(weight)


def causal_mask(inputs: int, outputs: int, groups: int, *, strict: bool, kernel_size: int) -> Tensor:
    """1 where a weight counts, else 0: `[outputs, inputs, kernel_size, kernel_size]`; see `MaskedConv2d`.

    Raises:
        ValueError: an even kernel, which has no centre.
    """
    if kernel_size % 2 == 0:
        raise ValueError(f"a causal kernel needs a centre: its size must be odd, got {kernel_size}")
    centre = kernel_size // 2
    mask = torch.zeros(outputs, inputs, kernel_size, kernel_size)
    mask[:, :, :centre] = 1
    mask[:, :, centre, :centre] = 1
    of_input = torch.arange(inputs) * groups // inputs
    of_output = torch.arange(outputs) * groups // outputs
    earlier = of_input < of_output[:, None] if strict else of_input <= of_output[:, None]
    mask[:, :, centre, centre] = earlier.float()
    return mask
