"""Pictures of environments, `[H, W, 3]` uint8."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np


class Rendering(Protocol):
    """Environments that show environment 0, as those of `envs` do."""

    render_fps: float
    """Pictures a second in real time."""

    def render(self) -> np.ndarray:
        """The picture, `[H, W, 3]` uint8; raises RuntimeError where there is none."""


class Size(NamedTuple):
    """Bounds of a picture, which it is brought into by a whole factor."""

    least_height: int = 1
    """Lower ones are enlarged."""
    most_width: int = 100_000
    """Wider ones are reduced."""


def picture_of(environment: Rendering) -> np.ndarray:
    """What an environment shows; some accept a render mode that they do not implement.

    Raises:
        ValueError: it shows nothing, or no picture.
    """
    try:
        picture = environment.render()
    except (RuntimeError, NotImplementedError) as error:
        raise ValueError(f"nothing to show: {error}") from error
    if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] != 3:
        shown = f"an array {picture.shape}" if isinstance(picture, np.ndarray) and picture.ndim else "none"
        raise ValueError(f"nothing to show: the environment's render() must give a picture [H, W, 3], it gave {shown}")
    return picture.astype(np.uint8, copy=False)


def fitted(picture: np.ndarray, size: Size) -> np.ndarray:
    """The picture, enlarged or reduced by a whole factor: pixels are repeated, or blocks of them averaged.

    Args:
        picture: `[H, W, 3]`.
        size: its bounds; the width has precedence.
    """
    height, width = picture.shape[:2]
    if width > size.most_width:
        factor = -(-width // size.most_width)
        blocks = picture[: height // factor * factor, : width // factor * factor]
        blocks = blocks.reshape(height // factor, factor, width // factor, factor, 3)
        return blocks.mean((1, 3)).round().astype(np.uint8)
    factor = min(-(-size.least_height // height), size.most_width // width)
    return picture.repeat(factor, 0).repeat(factor, 1) if factor > 1 else picture
