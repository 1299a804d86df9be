"""ConvPool-CNN-C as in the paper's published code, and the parts of it that torch has not."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wnrl.normalizers.batch_norm import MeanOnlyBatchNorm

LEAST = 12  # pixels a side: two poolings leave 3, which the convolution without padding needs
SLOPE = 0.1  # of the leaky rectifier, as in the published code


class GaussianNoise(nn.Module):
    """Adds noise of this standard deviation in training."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        return x + self.deviation * torch.randn_like(x) if self.training and self.deviation else x


class GlobalMean(nn.Module):
    """The mean of each channel: `[B, C, H, W]` to `[B, C]`."""

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C]`."""
        return x.mean((2, 3))


def convpool(channels: int, classes: int, narrow: int, wide: int, noise: float, dropout: float) -> nn.Sequential:
    """Images `[B, channels, H, W]` to logits `[B, classes]`.

    Args:
        channels: of the images.
        classes: of the logits.
        narrow: channels of the first three convolutions; 96 in the paper.
        wide: channels of the other six; 192 in the paper.
        noise: standard deviation of what is added to the images in training; 0.15 in the paper.
        dropout: share of what is dropped after each pooling; 0.5 in the paper.
    """
    stage = [nn.MaxPool2d(2), nn.Dropout(dropout)]
    layers: list[nn.Module] = [GaussianNoise(noise)]
    layers += [*_block(channels, narrow, 3, 1), *_block(narrow, narrow, 3, 1), *_block(narrow, narrow, 3, 1), *stage]
    stage = [nn.MaxPool2d(2), nn.Dropout(dropout)]
    layers += [*_block(narrow, wide, 3, 1), *_block(wide, wide, 3, 1), *_block(wide, wide, 3, 1), *stage]
    layers += [*_block(wide, wide, 3, 0), *_block(wide, wide, 1, 0), *_block(wide, wide, 1, 0), GlobalMean()]
    return nn.Sequential(*layers, nn.Linear(wide, classes))


def _block(inputs: int, outputs: int, kernel: int, padding: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.LeakyReLU(SLOPE)]


@torch.no_grad()
def add_mean_only(network: nn.Sequential) -> None:
    """Put mean-only batch norm after each plain convolution, in place; it takes the bias as its running mean.

    The paper's mean-only batch norm without weight norm. In evaluation mode the function stays.
    """
    for index, layer in enumerate(network):
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            norm = MeanOnlyBatchNorm(layer.out_channels, channel_dim=-3).to(layer.weight)
            norm.running_mean.copy_(-layer.bias)
            layer.bias = None
            network[index] = nn.Sequential(layer, norm)
