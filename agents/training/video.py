"""Videos of games."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from envs import TimeStep


def draw_off_screen() -> None:
    """Let pygame draw in memory where Linux has no display; looking for one, it complains on stderr.

    To be called before environments are made; a driver that is set already stays.
    """
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")


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
        path: of the file, which is created with its folder once there is a picture.

    Raises:
        ValueError: the packages that write videos are not installed, or the folder cannot be written to.
    """

    def __init__(self, environment: Rendering, path: Path) -> None:
        try:
            import imageio.v2 as imageio

            importlib.import_module("imageio_ffmpeg")
        except ImportError as error:
            raise ValueError('--video needs imageio with ffmpeg: pip install "wnrl[video]"') from error
        there = next(folder for folder in path.absolute().parents if folder.exists())
        if not os.access(there, os.W_OK) or not there.is_dir():
            raise ValueError(f"cannot write a video to {path.parent}: give another folder by --out")
        self._environment, self._path = environment, path
        fps = 60 // environment.frame_skip if environment.frame_skip > 1 else 30
        self._open = lambda: imageio.get_writer(path, fps=fps, macro_block_size=2)
        self._writer: Any = None
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
        picture = self._picture()
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._open()
        self._writer.append_data(picture)

    def _picture(self) -> np.ndarray:
        """What the environment shows, `[H, W, 3]` uint8; some accept a render mode that they do not implement."""
        try:
            picture = self._environment.render()
        except (RuntimeError, NotImplementedError) as error:
            raise ValueError(f"no video: {error}") from error
        if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] != 3:
            shown = f"an array {picture.shape}" if isinstance(picture, np.ndarray) and picture.ndim else "none"
            raise ValueError(f"no video: the environment's render() must give a picture [H, W, 3], it gave {shown}")
        return picture.astype(np.uint8, copy=False)

    def close(self) -> Path:
        """Finish the file and return its path."""
        if self._writer is not None:
            self._writer.close()
        return self._path
