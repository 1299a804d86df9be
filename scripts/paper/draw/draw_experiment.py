"""Section 5.3 of the paper: DRAW with and without weight normalization."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from paper.draw.drawing_network import DrawingNetwork, DrawSizes
from paper.experiment import Curve, PaperSettings
from paper.generative_experiment import GenerativeExperiment, grid
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm.units import Units

SHOWN = 32  # images in a picture
SIZES = {
    "small": DrawSizes(steps=8, units=64, latents=10, read=3, write=3),  # ours
    "paper": DrawSizes(steps=64, units=256, latents=100, read=2, write=5),  # Gregor et al. 2015, table 3
}
IMAGE_SIZES = {("digits", "paper"): 28}  # ours: as large as MNIST's; others keep theirs


@dataclass(frozen=True)
class DrawSettings(PaperSettings):
    """DRAW, all of whose weights are normalized, those of the LSTMs included; nothing else differs."""

    name: ClassVar[str] = "draw"
    curves: ClassVar[tuple[Curve, ...]] = (
        Curve("test/bound", "test bound, nats", higher_is_better=True),
        Curve("train/bound", "training bound, nats", higher_is_better=True),
    )
    small_epochs: ClassVar[int] = 60
    paper_epochs: ClassVar[int] = 100

    data: str = "digits"
    """Data set: digits (scikit-learn's) or mnist (from files in --data-dir); pixels are binarized."""
    learning_rate: float = 0.001
    """Adam's learning rate (ours), constant, the same for all norms."""
    units: Units = "paper"
    """Weight norm: a row's length is g (paper), √n g for n inputs (sqrt) or exp(g) (log)."""
    attention: bool = True
    """Read and write through windows that the decoder chooses; without, the whole image at each step."""
    steps: int = 0
    """Steps of drawing; 0: 8 (small, ours) or 64 (paper, of Gregor et al. 2015)."""
    lstm: int = 0
    """Units of each LSTM; 0: 64 (small, ours) or 256 (paper, of Gregor et al. 2015)."""
    latents: int = 0
    """Latents of a step; 0: 10 (small, ours) or 100 (paper, of Gregor et al. 2015)."""
    out: Path = Path("runs/paper-draw")
    """Folder of a folder per run, summary.csv, table.md and curves.png; runs that have ended are not repeated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data not in ("digits", "mnist"):
            raise ValueError(f"DRAW draws binarized grey images: data must be digits or mnist, got {self.data!r}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate:g}")
        for field in ("steps", "lstm", "latents"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} must not be negative, got {getattr(self, field)}")

    @property
    def sizes(self) -> DrawSizes:
        """The network's sizes."""
        scale = SIZES[self.scale]
        return DrawSizes(
            steps=self.steps or scale.steps,
            units=self.lstm or scale.units,
            latents=self.latents or scale.latents,
            read=scale.read if self.attention else 0,
            write=scale.write if self.attention else 0,
        )

    def experiment(self) -> DrawExperiment:
        """Read the images."""
        return DrawExperiment(self)


class DrawExperiment(GenerativeExperiment):
    """The images, and the networks that draw them.

    Args:
        settings: of the experiment.

    Raises:
        ValueError: no data.
    """

    def __init__(self, settings: DrawSettings) -> None:
        images = settings.images(IMAGE_SIZES.get((settings.data, settings.scale), 0))
        super().__init__(images, settings.torch_device, binary=True)
        self._settings = settings

    def build(self, norm: str, generator: torch.Generator) -> nn.Module:
        """The network with torch's own initialization, the same function for all norms."""
        height, width = self.training.shape[2:]
        network = DrawingNetwork((height, width), self._settings.sizes).to(self.training.device)
        return normalize(network, norm, normalize_output=True, units=self._settings.units)

    def optimizer(self, network: nn.Module, norm: str) -> Optimizer:
        """Adam."""
        return Adam(network.parameters(), lr=self._settings.learning_rate)

    def pictures(self, network: nn.Module) -> dict[str, Tensor]:
        """The canvas as a film, of test images and of samples; and the samples as a picture."""
        assert isinstance(network, DrawingNetwork)
        samples = network.sample(SHOWN)
        return {
            "canvas/reconstructions": grid(network.reconstruct(self.test[:SHOWN]), 8),
            "canvas/samples": grid(samples, 8),
            "samples": grid(samples[-1], 8),
        }
