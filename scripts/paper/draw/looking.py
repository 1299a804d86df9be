"""How DRAW reads an image and writes to its canvas: through a window of attention, or all at once."""

from __future__ import annotations

import torch
from paper.draw.attention import FilterBank, Window
from torch import Tensor, nn


class WholeReader(nn.Module):
    """Reads without attention: the image and what is missing on the canvas, whole (Gregor et al. 2015, equation 17).

    Args:
        size: height and width of images.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.outputs = 2 * size[0] * size[1]

    def forward(self, images: Tensor, missing: Tensor, state: Tensor) -> Tensor:
        """`[B, 2HW]` from two `[B, H, W]`; the decoder's state is not used."""
        return torch.cat([images.flatten(1), missing.flatten(1)], 1)


class WholeWriter(nn.Module):
    """Writes without attention: a linear function of the decoder's state is added to the canvas (equation 18).

    Args:
        units: of the decoder.
        size: height and width of images.
    """

    def __init__(self, units: int, size: tuple[int, int]) -> None:
        super().__init__()
        self._size = size
        self.image = nn.Linear(units, size[0] * size[1])

    def forward(self, state: Tensor) -> Tensor:
        """`[B, H, W]` from the state `[B, units]`."""
        return self.image(state).unflatten(1, self._size)


class Attention(nn.Module):
    """A window that the decoder chooses.

    Args:
        units: of the decoder.
        size: height and width of images.
        filters: N, in each direction.
    """

    def __init__(self, units: int, size: tuple[int, int], filters: int) -> None:
        super().__init__()
        self._grid = (*size, filters)
        self.window = nn.Linear(units, 5)

    def look(self, state: Tensor) -> tuple[Window, FilterBank]:
        """The window for the decoder's state `[B, units]`, and its filters."""
        window = Window.of(self.window(state), *self._grid)
        return window, FilterBank.of(window, *self._grid)


class AttentiveReader(Attention):
    """Reads patches of the image and of what is missing (equation 27); arguments as of `Attention`."""

    def __init__(self, units: int, size: tuple[int, int], filters: int) -> None:
        super().__init__(units, size, filters)
        self.outputs = 2 * filters**2

    def forward(self, images: Tensor, missing: Tensor, state: Tensor) -> Tensor:
        """`[B, 2N²]` from two `[B, H, W]` and the decoder's last state `[B, units]`."""
        window, bank = self.look(state)
        patches = torch.cat([bank.read(images).flatten(1), bank.read(missing).flatten(1)], 1)
        return window.intensity[:, None] * patches


class AttentiveWriter(Attention):
    """Writes a patch (equations 28 and 29); arguments as of `Attention`."""

    def __init__(self, units: int, size: tuple[int, int], filters: int) -> None:
        super().__init__(units, size, filters)
        self.patch = nn.Linear(units, filters**2)

    def forward(self, state: Tensor) -> Tensor:
        """`[B, H, W]` from the state `[B, units]`."""
        filters = self._grid[-1]
        window, bank = self.look(state)
        patches = self.patch(state).unflatten(1, (filters, filters))
        return bank.write(patches) / window.intensity[:, None, None]
