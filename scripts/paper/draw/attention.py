"""The selective attention of DRAW (Gregor et al. 2015, section 3.3): a grid of Gaussian filters over an image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LEAST = 1e-8  # keeps a filter that lies far outside the image from dividing by 0


class Window(NamedTuple):
    """Where and how closely an image is looked at; each `[B]`, in pixels that count from 1."""

    centre_x: Tensor
    centre_y: Tensor
    variance: Tensor
    """Of each filter."""
    stride: Tensor
    """Distance of the filters' centres."""
    intensity: Tensor

    @classmethod
    def of(cls, outputs: Tensor, height: int, width: int, filters: int) -> Window:
        """The window for five outputs of the decoder, `[B, 5]`: equations 21 to 24.

        For outputs of 0 it covers the whole image.

        Args:
            outputs: centre x and y (from −1 to 1 within the image), and logarithms of variance, stride and intensity.
            height: of the image.
            width: of the image.
            filters: in a row of the grid, at least 2.
        """
        x, y, log_variance, log_stride, log_intensity = outputs.unbind(1)
        stride = (max(height, width) - 1) / (filters - 1) * log_stride.exp()
        return cls(
            (width + 1) / 2 * (x + 1), (height + 1) / 2 * (y + 1), log_variance.exp(), stride, log_intensity.exp()
        )


class FilterBank(NamedTuple):
    """Filters over the rows and the columns of an image, each of sum 1."""

    rows: Tensor  # [B, N, H]
    columns: Tensor  # [B, N, W]

    @classmethod
    def of(cls, window: Window, height: int, width: int, filters: int) -> FilterBank:
        """The filters of a window, `filters` in each direction: equations 19, 20, 25 and 26."""
        return cls(
            gaussian_filters(window.centre_y, window.stride, window.variance, height, filters),
            gaussian_filters(window.centre_x, window.stride, window.variance, width, filters),
        )

    def read(self, images: Tensor) -> Tensor:
        """The patch `[B, N, N]` of images `[B, H, W]` under the filters."""
        return self.rows @ images @ self.columns.mT

    def write(self, patches: Tensor) -> Tensor:
        """An image `[B, H, W]` from patches `[B, N, N]`."""
        return self.rows.mT @ patches @ self.columns


def gaussian_filters(centre: Tensor, stride: Tensor, variance: Tensor, size: int, filters: int) -> Tensor:
    """Filters `[B, filters, size]` in one direction, of sum 1, from `[B]` each; pixels count from 1."""
    offsets = torch.arange(filters, dtype=centre.dtype, device=centre.device) - (filters - 1) / 2  # i − N/2 − 1/2
    means = centre[:, None] + offsets * stride[:, None]  # [B, N]
    pixels = torch.arange(1, size + 1, dtype=centre.dtype, device=centre.device)
    weights = torch.exp(-((pixels - means[:, :, None]) ** 2) / (2 * variance[:, None, None]))
    return weights / weights.sum(2, keepdim=True).clamp(min=LEAST)
