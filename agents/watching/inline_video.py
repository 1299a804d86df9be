"""A video that a notebook shows in its place."""

from __future__ import annotations

import base64
from pathlib import Path


class InlineVideo:
    """An MP4 video as the result of a notebook's cell: the page holds it, no file is needed.

    Args:
        data: of the file.
        scores: of the games that it shows to their end.
    """

    def __init__(self, data: bytes, scores: tuple[float, ...] = ()) -> None:
        self.data, self.scores = data, scores

    def save(self, path: str | Path) -> Path:
        """Write the file, MP4, and return its path.

        Raises:
            ValueError: the path does not end in `.mp4`.
        """
        path = Path(path)
        if path.suffix.lower() != ".mp4":
            raise ValueError(f"it is an MP4 video: give a path that ends in .mp4, got {path}")
        path.write_bytes(self.data)
        return path

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.data).decode("ascii")
        return f'<video controls autoplay loop muted src="data:video/mp4;base64,{data}"></video>'

    def __repr__(self) -> str:
        scores = ", ".join(f"{score:g}" for score in self.scores) or "none"
        size = f"{len(self.data) / 1000:,.0f} kB"
        return f"InlineVideo({size}, scores of whole games: {scores}): a notebook shows it, save('game.mp4') writes it"
