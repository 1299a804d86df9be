"""scikit-learn's handwritten digits as a data set of images."""

from __future__ import annotations

import torch
from paper.data.image_set import ImageSet
from rate_study.digits import HOLD_OUT, LEVELS, read_digits


def read_digit_images() -> ImageSet:
    """1,437 images for training and every fifth, 360, for tests, `[N, 1, 8, 8]` of 17 grey values.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    images, labels = read_digits()
    images = images[:, None].to(torch.uint8)
    test = torch.arange(len(images)) % HOLD_OUT == 0
    return ImageSet("digits", images[~test], labels[~test], images[test], labels[test], 10, LEVELS)
