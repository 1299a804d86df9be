"""Section 5.1 of the paper: an image classifier with each normalizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from paper.data.image_set import scaled
from paper.experiment import Curve, PaperSettings
from paper.image.convpool import LEAST, add_mean_only, convpool
from paper.image.whitening import Whitening
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from wnrl.initialization.initialize import initialize
from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm.units import Units

INIT_BATCH = 500  # examples of the data-dependent initialization, as in the published code
TEST_BATCH = 500
WIDTHS = {"small": (16, 32), "paper": (96, 192)}  # channels by scale; the small ones are ours
SIZES = {"small": {"digits": 16, "frames": 32}, "paper": {"digits": 32, "frames": 32}}  # ours; others keep theirs
REGULARIZATION = {"digits": 0.1}  # ours: digits have pixels that are hardly ever set; elsewhere the published 1e-5


@dataclass(frozen=True)
class ImageSettings(PaperSettings):
    """ConvPool-CNN-C with each normalizer."""

    name: ClassVar[str] = "image"
    known_norms: ClassVar[tuple[str, ...]] = ("none", "weight", "mean-only", "mean-batch", "batch")
    curves: ClassVar[tuple[Curve, ...]] = (
        Curve("test/error", "test error", percent=True, log=True),
        Curve("train/loss", "training loss, nats", log=True),
    )
    published: ClassVar[Mapping[str, str]] = {
        "none": "8.43 %",
        "weight": "8.46 %",
        "mean-only": "8.52 %",
        "mean-batch": "7.31 %",
        "batch": "8.05 %",
    }
    small_epochs: ClassVar[int] = 20
    paper_epochs: ClassVar[int] = 200

    norms: tuple[str, ...] = ()
    """Of none, weight, mean-only (batch norm of means, no weight norm), mean-batch (with it), batch; default: all."""
    learning_rate: float = 0.003
    """Adam's learning rate with a normalizer."""
    learning_rate_none: float = 0.0003
    """Adam's learning rate without one."""
    init: Literal["data", "lsuv", "within-layer", "he"] = "data"
    """Initialization, the same for all norms: the paper's data-dependent one (data), He's (he), or two others.
    They are that of Mishkin & Matas 2016 (lsuv) and that of Krähenbühl et al. 2016 (within-layer)."""
    units: Units = "paper"
    """Weight norm: a row's length is g (paper), √n g for n inputs (sqrt) or exp(g) (log)."""
    noise: float = 0.15
    """Standard deviation of the noise that is added to the images."""
    dropout: float = 0.5
    """Share of what is dropped after each pooling."""
    whitening: float = -1.0
    """Regularization of ZCA whitening; 0: none; -1: 1e-5 as in the published code, of digits 0.1."""
    out: Path = Path("runs/paper-image")
    """Folder of a folder per run, summary.csv, table.md and curves.png; runs that have ended are not repeated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.learning_rate > 0 and self.learning_rate_none > 0):
            raise ValueError("learning rates must be positive")
        if self.noise < 0 or not 0 <= self.dropout < 1:
            raise ValueError(f"noise must not be negative and dropout in [0, 1), got {self.noise} and {self.dropout}")

    def experiment(self) -> ImageExperiment:
        """Read and whiten the images."""
        return ImageExperiment(self)


class ImageExperiment:
    """The images, whitened, on the device, and what is trained on them.

    Args:
        settings: of the experiment.

    Raises:
        ValueError: no data, or images that are too small for the network.
    """

    def __init__(self, settings: ImageSettings) -> None:
        self._settings = settings
        images = settings.images(SIZES[settings.scale].get(settings.data, 0))
        channels, height, width = images.shape
        if min(height, width) < LEAST:
            raise ValueError(
                f"images of {height} x {width} are too small for ConvPool-CNN-C: take --image-size {LEAST} or more"
            )
        self.examples, self.remark = len(images.images), images.remark
        self._shape, self._classes = (channels, height, width), images.classes
        device = settings.torch_device
        training, test = (scaled(part.to(device), images.levels) for part in (images.images, images.test_images))
        regularization = settings.whitening
        if regularization < 0:
            regularization = REGULARIZATION.get(settings.data, 1e-5)
        if regularization:
            whitening = Whitening(training, regularization)
            training, test = whitening(training), whitening(test)
        self._training, self._labels = training, images.labels.to(device)
        self._test, self._test_labels = test, images.test_labels.to(device)

    def build(self, norm: str, generator: torch.Generator) -> nn.Module:
        """The network; the same first weights for all norms."""
        settings = self._settings
        narrow, wide = WIDTHS[settings.scale]
        network = convpool(self._shape[0], self._classes, narrow, wide, settings.noise, settings.dropout)
        network = network.to(self._training.device)
        normalize(network, "none" if norm == "mean-only" else norm, units=settings.units)
        initialize(network, settings.init, self._training[:INIT_BATCH], generator=generator)
        if norm == "mean-only":
            add_mean_only(network)
        return network

    def optimizer(self, network: nn.Module, norm: str) -> Optimizer:
        """Adam."""
        return Adam(network.parameters(), lr=self._rate(norm))

    def adjust(self, optimizer: Optimizer, norm: str, epoch: int) -> None:
        """A constant rate and β₁ = 0.9 in the first half; then a linear decay to 0, and β₁ = 0.5."""
        epochs = self._settings.all_epochs
        group = optimizer.param_groups[0]
        group["lr"] = self._rate(norm) * min(2 - 2 * epoch / epochs, 1.0)
        group["betas"] = (0.9 if epoch < epochs / 2 else 0.5, 0.999)

    def _rate(self, norm: str) -> float:
        return self._settings.learning_rate_none if norm == "none" else self._settings.learning_rate

    def loss(self, network: nn.Module, rows: Tensor) -> dict[str, Tensor]:
        """Cross-entropy, nats."""
        rows = rows.to(self._training.device)
        logits, labels = network(self._training[rows]), self._labels[rows]
        return {"loss": F.cross_entropy(logits, labels), "error": (logits.argmax(1) != labels).float().mean()}

    def evaluate(self, network: nn.Module) -> dict[str, float]:
        """Cross-entropy in nats, and the share of test images that are misclassified."""
        logits = torch.cat([network(part) for part in self._test.split(TEST_BATCH)])
        wrong = (logits.argmax(1) != self._test_labels).float().mean()
        return {"test/loss": float(F.cross_entropy(logits, self._test_labels)), "test/error": float(wrong)}

    def pictures(self, network: nn.Module) -> dict[str, Tensor]:
        """None: it makes none."""
        return {}
