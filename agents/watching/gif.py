"""GIF files that are small: one palette for all pictures, of which each holds only what has changed."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS = 128
"""Of the palette; where there are more, half of them are the most frequent ones, as they are."""
SAMPLED = 16
"""Pictures from which the palette is made."""
FASTEST = 50.0
"""Pictures a second at most: browsers show one that is to stay for less than two hundredths of a second for ten."""


class GIFWriter:
    """Collects pictures and writes them at the end.

    Args:
        path: of the file.
        fps: pictures a second, `FASTEST` at most. Each is shown for a whole number of hundredths of a second; these
            differ where they have to, so that none is shown over half a hundredth too early or too late.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path, min(fps, FASTEST)
        self._pictures: list[Image] = []

    def append_data(self, picture: np.ndarray) -> None:
        """Add a picture `[H, W, 3]` uint8."""
        from PIL import Image

        self._pictures.append(Image.fromarray(picture))

    def close(self) -> None:
        """Write the file, which repeats without end."""
        from PIL.Image import Dither

        palette = _palette(self._pictures)
        first, *others = (picture.quantize(palette=palette, dither=Dither.NONE) for picture in self._pictures)
        durations = _durations(len(self._pictures), self._fps)
        first.save(self._path, save_all=True, append_images=others, duration=durations, loop=0, optimize=True)
        self._pictures.clear()


def _durations(number: int, fps: float) -> list[int]:
    """How long each picture is shown, in milliseconds, of which GIFs have tens."""
    ends = [round(100 * index / fps) for index in range(number + 1)]
    return [10 * (end - start) for start, end in itertools.pairwise(ends)]


def _palette(pictures: list[Image]) -> Image:
    """A picture whose palette suits all of them."""
    from PIL import Image

    sample = pictures[:: max(len(pictures) // SAMPLED, 1)]
    pixels = np.concatenate([np.asarray(picture).reshape(-1, 3) for picture in sample]).astype(np.uint32)
    packed, counts = np.unique(pixels @ np.array([1 << 16, 1 << 8, 1], np.uint32), return_counts=True)
    packed = packed[np.argsort(-counts, kind="stable")]
    colours = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=-1).astype(np.uint8)  # [C, 3]
    if len(colours) > COLOURS:
        others = Image.fromarray(colours[None, COLOURS // 2 :]).quantize(COLOURS - COLOURS // 2)
        colours = np.concatenate([colours[: COLOURS // 2], np.array(others.getpalette(), np.uint8).reshape(-1, 3)])
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.resize(colours, (256, 3)).tobytes())  # what is left repeats them
    return palette
