"""Data sets by name."""

from __future__ import annotations

from pathlib import Path

from paper.data.cifar10 import read_cifar10
from paper.data.digit_images import read_digit_images
from paper.data.frames import read_frames
from paper.data.image_set import ImageSet
from paper.data.mnist import read_mnist

NAMES = ("digits", "mnist", "cifar10", "frames")
FRAMES = 50_000  # training frames where no number is asked for, as many as CIFAR-10 has images
TEST_SHARE = 5  # a test frame for so many training frames, before repeated ones are left out


def load(name: str, folder: Path, examples: int = 0, size: int = 0, game: str = "Breakout") -> ImageSet:
    """A data set.

    Args:
        name: one of `NAMES`.
        folder: of the files, for mnist and cifar10.
        examples: training images; 0: all, of frames 50,000.
        size: height and width; 0: their own.
        game: of frames.

    Raises:
        ValueError: an unknown name, files that are missing or damaged, or more examples than there are.
    """
    check_name(name)
    if name == "frames":
        training = examples or FRAMES
        return read_frames(game, training, max(training // TEST_SHARE, 1)).resized(size).without_repeats()
    if name == "digits":
        images = read_digit_images()
    else:
        images = read_mnist(folder) if name == "mnist" else read_cifar10(folder)
    return images.first(examples).resized(size)


def check_name(name: str) -> None:
    """Raise ValueError where no data set has this name."""
    if name not in NAMES:
        raise ValueError(f"unknown data set {name!r}: choose from {', '.join(NAMES)}")
