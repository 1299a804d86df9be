"""Videos of games."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol

import numpy as np

from envs import TimeStep


class Rendering(Protocol):
    """Environments that show environment 0, as those of `envs` do."""

    frame_skip: int
    """Emulator frames per step; 1 where there is no emulator."""

    def render(self) -> np.ndarray:
        """The picture, `[H, W, 3]` uint8; raises RuntimeError where there is none."""


class Video:
    """Writes the first game of environment 0 to an MP4 file.

    Args:
        environment: renders its frames.
        path: of the file, whose folder is created.

    Raises:
        ValueError: the packages that write videos are not installed.
    """

    def __init__(self, environment: Rendering, path: Path) -> None:
        try:
            import imageio.v2 as imageio

            importlib.import_module("imageio_ffmpeg")
        except ImportError as error:
            raise ValueError('--video needs imageio with ffmpeg: pip install "wnrl[video]"') from error
        path.parent.mkdir(exist_ok=True)
        self._environment, self._path = environment, path
        fps = 60 // environment.frame_skip if environment.frame_skip > 1 else 30
        self._writer = imageio.get_writer(self._path, fps=fps, macro_block_size=2)
        self._recording = True

    def watch(self, timestep: TimeStep) -> None:
        """Record a row, until the first game ends.

        Raises:
            ValueError: the environment cannot render.
        """
        if self._recording:
            self.record()
            self._recording = not timestep.last[0]

    def record(self) -> None:
        """Add the present picture.

        Raises:
            ValueError: the environment cannot render.
        """
        try:
            self._writer.append_data(self._environment.render())
        except RuntimeError as error:
            self.close()
            self._path.unlink(missing_ok=True)
            raise ValueError(f"no video: {error}") from error

    def close(self) -> Path:
        """Finish the file and return its path."""
        self._writer.close()
        return self._path
