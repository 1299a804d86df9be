"""Videos of games: MP4 and GIF files."""

from __future__ import annotations

import importlib
import math
import os
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from agents.watching.gif import FASTEST, GIFWriter
from agents.watching.mp4 import MP4Writer
from agents.watching.picture import Size

SUFFIXES = (".mp4", ".gif")
GIF_FPS = 15.0
"""Pictures a second of a GIF at most, where no other number is asked for."""
GIF_SECONDS = 30.0
"""Length of a GIF at most, where no other is asked for."""
MISSING = 'a video needs imageio with ffmpeg, and Pillow: pip install "wnrl[video]"'


def draw_off_screen() -> None:
    """Let pygame draw in memory where Linux has no display; looking for one, it complains on stderr.

    To be called before environments are made; a driver that is set already stays.
    """
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")


def size_for(path: Path, values: bool = False) -> Size:
    """Bounds of an environment's picture in a video: a GIF's is small, and bars beside one can be read.

    Args:
        path: of the video.
        values: whether there are bars.
    """
    if path.suffix.lower() == ".gif":
        return Size(200 if values else 1, 320)
    return Size(400) if values else Size()


class Video:
    """A `Screen` that writes each picture to an MP4 or GIF file, whose duration is that of the game in real time.

    The file has another name until it is closed, so that only a whole one replaces one that was there before. What
    cannot be written, as on a full disk, is an error of `close` alone: games have other results than a video.

    Args:
        path: of the file, `.mp4` or `.gif`; its folder is created once there is a picture.
        rate: pictures a second that are shown to it.
        fps: pictures a second of the file at most, of which others are left out; None: all, of a GIF `GIF_FPS`. A GIF
            has no more than `agents.watching.gif.FASTEST`.
        seconds: of the file at most; None: all, of a GIF `GIF_SECONDS`.

    Raises:
        ValueError: another suffix, the packages that write videos are not installed, or the folder cannot be written
            to.
    """

    def __init__(self, path: Path, rate: float, *, fps: float | None = None, seconds: float | None = None) -> None:
        gif = path.suffix.lower() == ".gif"
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"a video is a file {' or '.join(SUFFIXES)}, got {path}")
        self._make = _gif_writer() if gif else _mp4_writer()
        there = next(folder for folder in path.absolute().parents if folder.exists())
        if not os.access(there, os.W_OK) or not there.is_dir() or path.is_dir():
            raise ValueError(f"cannot write a video to {path.parent}: give another folder by --out or --video FILE")
        most = min(fps or GIF_FPS, FASTEST) if gif else fps or rate
        self._every = max(math.ceil(rate / most - 1e-9), 1)
        self._fps = rate / self._every
        limit = seconds or (GIF_SECONDS if gif else math.inf)
        self._pictures = self._every * max(math.floor(limit * self._fps + 1e-9), 1) if limit < math.inf else math.inf
        self._path, self._rate, self._number = path, rate, 0
        self._unfinished = path.with_name(f".{path.stem[:200]}.{secrets.token_hex(4)}.tmp{path.suffix}")
        self._writer: Any = None
        self._error: OSError | None = None

    @property
    def full(self) -> bool:
        """Whether it is as long as it may be, or cannot be written; further pictures are left out."""
        return self._number >= self._pictures or self._error is not None

    def show(self, picture: Callable[[], np.ndarray], text: str = "") -> None:
        """Add the next picture.

        Args:
            picture: makes it, `[H, W, 3]` uint8; it is not asked for where it is left out.
            text: not shown.
        """
        if self.full:
            return
        if self._number % self._every == 0:
            made = picture()
            try:
                self._append(made)
            except OSError as error:
                self._error = error
                self.discard()
        self._number += 1

    def describe(self) -> str:
        """What it shows and where it is, once it is closed."""
        part = f" (its first {self._number / self._rate:g} seconds)" if self.full else ""
        return f"video of the first game{part}: {self._path}"

    def close(self) -> Path:
        """Finish the file and return its path.

        Raises:
            ValueError: it cannot be written; a file of that name is untouched.
        """
        try:
            if self._error is not None:
                raise self._error
            if self._writer is not None:
                self._writer.close()
                os.replace(self._unfinished, self._path)
                self._writer = None
        except OSError as error:
            raise ValueError(f"cannot write {self._path}: {error.strerror or error}") from error
        finally:
            self.discard()
        return self._path

    def discard(self) -> None:
        """Remove the file unless it is finished."""
        if self._writer is not None:
            self._writer = None
            with suppress(OSError):
                self._unfinished.unlink(missing_ok=True)

    def _append(self, picture: np.ndarray) -> None:
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._make(self._unfinished, self._fps)
        self._writer.append_data(picture)


def _mp4_writer() -> Callable[[Path, float], Any]:
    """What makes a writer for a path and a number of pictures a second."""
    try:
        importlib.import_module("imageio.v2")
        importlib.import_module("imageio_ffmpeg")
    except ImportError as error:
        raise ValueError(MISSING) from error
    return MP4Writer


def _gif_writer() -> Callable[[Path, float], Any]:
    """The same for GIFs."""
    try:
        importlib.import_module("PIL.Image")
    except ImportError as error:
        raise ValueError(MISSING) from error
    return GIFWriter
