"""Two tasks on scikit-learn's handwritten digits: classify an image, and predict its pixels one after the other."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 17  # grey values of a pixel, 0 to 16
HOLD_OUT = 5  # every fifth image


class Examples(NamedTuple):
    """Inputs of a network, `[B, ...]`, and target classes, `[B]` or `[B, T]`."""

    inputs: Tensor
    targets: Tensor


class Task(NamedTuple):
    """Data, the same on every machine, and the network that learns from them."""

    training: Examples
    held_out: Examples
    make_network: Callable[[], nn.Module]  # inputs to logits [B, classes] or [B, classes, T]
    classes: int
    norms: tuple[str, ...]  # normalizers that the network can have
    epochs: int  # these and the next, unless others are asked for
    init: Literal["data", "preserve"]

    @property
    def chance(self) -> float:
        """Cross-entropy of a uniform guess, nats."""
        return math.log(self.classes)


def digits() -> Task:
    """Classify images `[1, 8, 8]` in [−1, 1] as one of ten digits: 1,437 images for training, 360 held out."""
    images, labels = read_digits()
    training, held_out = _split(images[:, None].float() / 8 - 1, labels)
    return Task(training, held_out, convolutional_network, 10, ("none", "weight", "mean-batch", "batch"), 10, "data")


def sequence() -> Task:
    """Predict each of an image's 64 pixels, row by row, from those before it: 17 classes; the targets are the inputs.

    Real data of fixed content (text that Python ships changes with its version), and a recurrent network that models
    images, as the paper's DRAW is one; like there, the standard initialization stays. No batch norm over time.
    """
    images, _ = read_digits()
    pixels = images.flatten(1)
    training, held_out = _split(pixels, pixels)
    return Task(training, held_out, PixelLSTM, LEVELS, ("none", "weight"), 10, "preserve")


TASKS: dict[str, Callable[[], Task]] = {"digits": digits, "sequence": sequence}
"""By name."""


def read_digits() -> tuple[Tensor, Tensor]:
    """The images, int64 `[1797, 8, 8]` of values 0 to 16, and their labels `[1797]`.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    try:
        data = importlib.import_module("sklearn.datasets").load_digits()
    except ImportError as error:
        raise ValueError('the digits come with scikit-learn: pip install "wnrl[report]"') from error
    return torch.as_tensor(data.images).long(), torch.as_tensor(data.target).long()


def convolutional_network() -> nn.Module:
    """A small ConvPool-CNN-C (the paper's): images `[B, 1, 8, 8]` to logits `[B, 10]`, 65,730 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 24, kernel_size=3, padding=1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(24, 24, kernel_size=3, padding=1),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.Conv2d(24, 48, kernel_size=3, padding=1),
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        nn.Linear(48 * 4 * 4, 64),
        nn.LeakyReLU(0.1),
        nn.Linear(64, 10),
    )


class PixelLSTM(nn.Module):
    """Logits `[B, 17, T]` for each pixel of `[B, T]` from the pixels before it; zeros precede the first."""

    def __init__(self, units: int = 128) -> None:
        super().__init__()
        self.core = nn.LSTM(LEVELS, units, batch_first=True)
        self.output = nn.Linear(units, LEVELS)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits `[B, 17, T]`."""
        before = F.pad(F.one_hot(pixels[:, :-1], LEVELS).float(), (0, 0, 1, 0))  # [B, T, 17], zeros first
        features, _ = self.core(before)
        return self.output(features).movedim(-1, 1)


def _split(inputs: Tensor, targets: Tensor) -> tuple[Examples, Examples]:
    held_out = torch.arange(len(inputs)) % HOLD_OUT == 0
    return Examples(inputs[~held_out], targets[~held_out]), Examples(inputs[held_out], targets[held_out])
