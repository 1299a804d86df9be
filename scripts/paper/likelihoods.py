"""Distributions of pixels, given the output of a decoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BernoulliPixels(nn.Module):
    """Pixels that are 0 or 1; the decoder's outputs are logits."""

    def log_likelihood(self, outputs: Tensor, images: Tensor) -> Tensor:
        """log p of each image, `[B]` in nats; both `[B, C, H, W]`."""
        return -F.binary_cross_entropy_with_logits(outputs, images, reduction="none").flatten(1).sum(1)

    def mean(self, outputs: Tensor) -> Tensor:
        """Expected pixels, from 0 to 1."""
        return outputs.sigmoid()


class LogisticPixels(nn.Module):
    """Pixels of `levels` equally spaced values from 0 to 1, each the share of a logistic distribution in its interval.

    The distribution of Kingma et al. 2016: the decoder's outputs plus a half are its means, in units of the whole
    range; one scale for all pixels is learned. The outermost intervals are open: the values' shares add up to 1.

    Args:
        levels: number of values, 256 for bytes.
    """

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        self.levels = levels
        self.log_scale = nn.Parameter(torch.tensor(math.log(0.1)))  # ours: about the spread of pixels at the start

    def log_likelihood(self, outputs: Tensor, images: Tensor) -> Tensor:
        """log p of each image, `[B]` in nats; both `[B, C, H, W]`."""
        return self.log_shares(outputs, (images * (self.levels - 1)).round()).flatten(1).sum(1)

    def log_shares(self, outputs: Tensor, values: Tensor) -> Tensor:
        """log p of each pixel; `values` count from 0 to `levels` − 1.

        σ(u) − σ(l) = σ(u) σ(−l) (1 − exp(l − u)), which loses no digits where both are close to 0 or 1.
        """
        inverse = torch.exp(-self.log_scale)
        lower = (values / self.levels - 0.5 - outputs) * inverse
        width = inverse / self.levels  # of an interval
        below = torch.where(values < self.levels - 1, F.logsigmoid(lower + width), 0.0)
        above = torch.where(values > 0, F.logsigmoid(-lower), 0.0)
        inside = (values > 0) & (values < self.levels - 1)
        return below + above + torch.where(inside, torch.log(-torch.expm1(-width)), 0.0)

    def mean(self, outputs: Tensor) -> Tensor:
        """The distribution's means, from 0 to 1."""
        return (outputs + 0.5).clamp(0, 1)


def binarize(images: Tensor, noise: torch.Generator | None = None) -> Tensor:
    """Pixels 0 or 1, drawn with their intensities (from 0 to 1) as probabilities (Salakhutdinov & Murray 2008)."""
    return torch.bernoulli(images, generator=noise)
