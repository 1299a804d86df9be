"""What tests of videos share."""

from contextlib import contextmanager
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
from PIL import Image, ImageSequence

needs_ffmpeg = pytest.mark.skipif(
    find_spec("imageio_ffmpeg") is None, reason="needs imageio-ffmpeg, which writes videos"
)


@contextmanager
def full_disk(room):
    """A context in which no file gets longer than that, neither this process's nor one of a process that it starts."""
    resource = pytest.importorskip("resource", reason="needs limits on the sizes of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def frames_of(file):
    """The pictures of a video `[frames, H, W, 3]`, and how many are shown a second."""
    video = cv2.VideoCapture(str(file))
    frames = []
    while (picture := video.read())[0]:
        frames.append(picture[1])
    return np.array(frames), video.get(cv2.CAP_PROP_FPS)


def gif_frames(file):
    """The pictures of a GIF `[frames, H, W, 3]`, RGB, and how long each is shown, in milliseconds."""
    with Image.open(file) as gif:
        shown = [(np.array(frame.convert("RGB")), frame.info["duration"]) for frame in ImageSequence.Iterator(gif)]
    return np.array([picture for picture, _ in shown]), [duration for _, duration in shown]
