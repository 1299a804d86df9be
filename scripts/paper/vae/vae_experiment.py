"""Section 5.2 of the paper: a convolutional variational auto-encoder with and without weight normalization."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from paper.experiment import Curve, PaperSettings
from paper.generative_experiment import GenerativeExperiment, grid
from paper.likelihoods import BernoulliPixels, LogisticPixels
from paper.vae.image_vae import ImageVAE, VAESizes, initialize
from torch import Tensor, nn
from torch.optim import Adamax, Optimizer

from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm.units import Units

INIT_BATCH = 500  # examples of the data-dependent initialization, as in the paper's code for images
SHOWN = 16  # images in a picture
SIZES = {
    "small": VAESizes(features=16, latents=4, levels=2, blocks=1, flow_steps=1),  # ours
    "paper": VAESizes(features=160, latents=32, levels=2, blocks=2, flow_steps=1),  # of the flow's published code
}


@dataclass(frozen=True)
class VAESettings(PaperSettings):
    """The convolutional VAE with ResNet blocks and inverse autoregressive flow."""

    name: ClassVar[str] = "vae"
    curves: ClassVar[tuple[Curve, ...]] = (
        Curve("test/bound", "test bound, nats", higher_is_better=True),
        Curve("train/bound", "training bound, nats", higher_is_better=True),
    )
    small_epochs: ClassVar[int] = 60
    paper_epochs: ClassVar[int] = 200

    learning_rate: float = 0.002
    """Adamax's learning rate, the paper's; constant, the same for all norms."""
    units: Units = "paper"
    """Weight norm: a row's length is g (paper), √n g for n inputs (sqrt) or exp(g) (log)."""
    free_nats: float = 0.0
    """Divergence in nats of each channel of latents that costs nothing ("free bits"); 0.25 in the flow's code."""
    pixels: Literal["", "bernoulli", "logistic"] = ""
    """Pixels are binarized (bernoulli; bound in nats) or discretized logistic (bits per dimension).
    By default bernoulli for digits and mnist, logistic for cifar10 and frames."""
    posterior: Literal["flow", "gaussian"] = "flow"
    """Posterior of the latents: with inverse autoregressive flow, or Gaussian."""
    features: int = 0
    """Channels of the ResNet's blocks; 0: 16 (small, ours) or 160 (paper, as in the flow's code)."""
    latents: int = 0
    """Channels of latents of a block; 0: 4 (small, ours) or 32 (paper, as in the flow's code)."""
    levels: int = 0
    """Resolutions; 0: 2, as in the flow's code."""
    blocks: int = 0
    """Blocks at each resolution; 0: 1 (small, ours) or 2 (paper, as in the flow's code)."""
    out: Path = Path("runs/paper-vae")
    """Folder of a folder per run, summary.csv, table.md and curves.png; runs that have ended are not repeated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate:g}")
        for field in ("free_nats", "features", "latents", "levels", "blocks"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} must not be negative, got {getattr(self, field):g}")

    @property
    def sizes(self) -> VAESizes:
        """The network's sizes."""
        scale = SIZES[self.scale]
        return VAESizes(
            features=self.features or scale.features,
            latents=self.latents or scale.latents,
            levels=self.levels or scale.levels,
            blocks=self.blocks or scale.blocks,
            flow_steps=scale.flow_steps if self.posterior == "flow" else 0,
        )

    @property
    def binary(self) -> bool:
        """Whether pixels are binarized."""
        return (self.pixels or ("bernoulli" if self.data in ("digits", "mnist") else "logistic")) == "bernoulli"

    def experiment(self) -> VAEExperiment:
        """Read the images; frames are resized to 32 × 32 (ours), as CIFAR-10's are."""
        return VAEExperiment(self)


class VAEExperiment(GenerativeExperiment):
    """The images, and the networks that learn them.

    Args:
        settings: of the experiment.

    Raises:
        ValueError: no data, or images that cannot be halved so often.
    """

    def __init__(self, settings: VAESettings) -> None:
        images = settings.images(32 if settings.data == "frames" else 0)
        super().__init__(images, settings.torch_device, binary=settings.binary, free_nats=settings.free_nats)
        self._settings, self._shape, self._levels = settings, images.shape, images.levels
        self._network()

    def build(self, norm: str, generator: torch.Generator) -> nn.Module:
        """The network with the data-dependent initialization, the same function for all norms."""
        network = self._network().to(self.training.device)
        normalize(network, norm, normalize_output=True, units=self._settings.units)
        initialize(network, self.minibatch(torch.arange(min(INIT_BATCH, self.examples))), generator)
        return network

    def optimizer(self, network: nn.Module, norm: str) -> Optimizer:
        """Adamax, as in the paper."""
        return Adamax(network.parameters(), lr=self._settings.learning_rate)

    def pictures(self, network: nn.Module) -> dict[str, Tensor]:
        """Test images above their reconstructions, and samples."""
        assert isinstance(network, ImageVAE)
        images = self.test[:SHOWN]
        both = torch.cat([images, network.reconstruct(images)])
        return {"reconstructions": grid(both, SHOWN), "samples": grid(network.sample(4 * SHOWN), SHOWN)}

    def _network(self) -> ImageVAE:
        channels, height, width = self._shape
        likelihood = BernoulliPixels() if self._settings.binary else LogisticPixels(self._levels)
        return ImageVAE(channels, (height, width), self._settings.sizes, likelihood)
