"""Two tasks on scikit-learn's handwritten digits: which digit an image shows, and its pixels one after the other."""

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
    """What a network is given, `[B, ...]`, and the classes that it should predict, `[B]` or `[B, T]`."""

    inputs: Tensor
    targets: Tensor


class Task(NamedTuple):
    """Data that are the same on every machine, and the network that learns from them."""

    training: Examples
    held_out: Examples
    make_network: Callable[[], nn.Module]  # inputs to logits [B, classes] or [B, classes, T]
    classes: int
    norms: tuple[str, ...]  # that have a meaning for the network
    epochs: int  # these and the next, unless others are asked for
    init: Literal["data", "preserve"]

    @property
    def chance(self) -> float:
        """Cross-entropy of a uniform guess, nats."""
        return math.log(self.classes)


def digits() -> Task:
    """Which of ten digits an image `[1, 8, 8]` in [−1, 1] shows: 1,437 images to learn from, 360 held out."""
    images, labels = load()
    training, held_out = _split(images[:, None].float() / 8 - 1, labels)
    return Task(training, held_out, convolutional_network, 10, ("none", "weight", "mean-batch", "batch"), 10, "data")


def sequence() -> Task:
    """Each of an image's 64 pixels, row by row, from the pixels before it: 17 classes; inputs and targets are the same.

    Real data of fixed content (text that Python ships changes with its version), and a recurrent network that models
    images, as the paper's DRAW is one; like there, the standard initialization stays. No batch norm over time.
    """
    images, _ = load()
    pixels = images.flatten(1)
    training, held_out = _split(pixels, pixels)
    return Task(training, held_out, PixelLSTM, LEVELS, ("none", "weight"), 10, "preserve")


TASKS: dict[str, Callable[[], Task]] = {"digits": digits, "sequence": sequence}
"""By name."""


def load() -> tuple[Tensor, Tensor]:
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
    """In the spirit of the paper's ConvPool-CNN-C, for images `[B, 1, 8, 8]`: logits `[B, 10]`, 65,730 parameters."""
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
    """Logits `[B, 17, T]` of each grey value of `[B, T]` from those before it; the first is guessed from nothing."""

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
