"""A data set of images with classes, as every loader returns it."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class ImageSet(NamedTuple):
    """Images uint8 `[N, C, H, W]` with values 0 to `levels` − 1, and their classes int64 `[N]`; a test set apart."""

    name: str
    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: int
    levels: int = 256
    remark: str = ""
    """What users of the set should know."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def first(self, examples: int) -> ImageSet:
        """The set with its first training images alone; 0 takes all.

        Raises:
            ValueError: there are not so many.
        """
        if examples > len(self.images):
            raise ValueError(f"{self.name} has {len(self.images):,} training images, {examples:,} were asked for")
        return self._replace(images=self.images[:examples], labels=self.labels[:examples]) if examples else self

    def resized(self, size: int) -> ImageSet:
        """The set with images of `size` × `size`: areas averaged, or interpolated where they grow; 256 levels then.

        0, or the size that they have, leaves them as they are.
        """
        if not size or self.shape[1:] == (size, size):
            return self
        images, test = (_resized(each, size, self.levels) for each in (self.images, self.test_images))
        return self._replace(images=images, test_images=test, levels=256)

    def without_repeats(self) -> ImageSet:
        """The set without test images that are training images too, and how many they were as its remark.

        Raises:
            ValueError: none is left.
        """
        known = {_digest(image) for image in self.images}
        new = torch.tensor([_digest(image) not in known for image in self.test_images])
        if not new.any():
            raise ValueError(f"all test images of {self.name} are among its training images: take more --examples")
        left_out = len(new) - int(new.sum())
        remark = f"{self.name}: {left_out:,} of {len(new):,} test images are training images too, and are left out"
        return self._replace(test_images=self.test_images[new], test_labels=self.test_labels[new], remark=remark)


def scaled(images: Tensor, levels: int) -> Tensor:
    """Pixels as float32 in [−1, 1); of 256 levels (x − 127.5)/128, as in the paper's code."""
    return (images.float() - (levels - 1) / 2) / (levels / 2)


def check_set(images: ImageSet) -> ImageSet:
    """The set itself, after a check that images fit labels.

    Raises:
        ValueError: they do not.
    """
    for part, labels in ((images.images, images.labels), (images.test_images, images.test_labels)):
        if len(part) != len(labels):
            raise ValueError(
                f"{images.name} has {len(part):,} images and {len(labels):,} labels: files of two data sets"
            )
        if len(labels) == 0:
            raise ValueError(f"{images.name} has no images")
        if int(labels.min()) < 0 or int(labels.max()) >= images.classes:
            raise ValueError(f"{images.name} has a label over {images.classes - 1}: another data set, or damaged")
    if images.images.shape[1:] != images.test_images.shape[1:]:
        raise ValueError(f"{images.name} has training and test images of two sizes: files of two data sets")
    return images


def _digest(image: Tensor) -> bytes:
    return hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest()


def _resized(images: Tensor, size: int, levels: int) -> Tensor:
    smaller = size <= min(images.shape[2:])
    options = {"mode": "area"} if smaller else {"mode": "bilinear", "align_corners": False, "antialias": True}
    parts = [F.interpolate(part.float() * (255 / (levels - 1)), (size, size), **options) for part in images.split(5000)]
    return torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in parts])
