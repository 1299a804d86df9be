"""MP4 files, read again once they are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np


class MP4Writer:
    """Gives pictures to ffmpeg, which writes them at once.

    Args:
        path: of the file.
        fps: pictures a second.

    Raises:
        ImportError: imageio or its ffmpeg is not installed.
    """

    def __init__(self, path: Path, fps: float) -> None:
        import imageio.v2 as imageio
        from imageio_ffmpeg import count_frames_and_secs

        self._writer, self._count = imageio.get_writer(path, fps=fps, macro_block_size=2), count_frames_and_secs
        self._path, self._number = path, 0

    def append_data(self, picture: np.ndarray) -> None:
        """Add a picture `[H, W, 3]` uint8; raises OSError where ffmpeg has ended, as on a full disk."""
        try:
            self._writer.append_data(picture)
        except OSError as error:  # with ffmpeg's whole command
            raise OSError(f"ffmpeg ended after {self._number} pictures; is the disk full?") from error
        self._number += 1

    def close(self) -> None:
        """Finish the file; raises OSError where it does not have all pictures: imageio ignores ffmpeg's exit code."""
        self._writer.close()
        try:
            number = self._count(self._path)[0]
        except RuntimeError:
            number = 0
        if number < self._number:
            raise OSError(f"ffmpeg wrote {number} of {self._number} pictures; is the disk full?")
