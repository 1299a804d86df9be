"""The convolutional variational auto-encoder: ResNet blocks, posterior with inverse autoregressive flow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from paper.bound import Bound
from paper.likelihoods import BernoulliPixels, LogisticPixels
from paper.vae.masked_convolution import MaskedConv2d
from paper.vae.stochastic_block import StochasticBlock
from torch import Tensor, nn
from torch.nn import functional as F

import wnrl


@dataclass(frozen=True)
class VAESizes:
    """Sizes of the network."""

    features: int
    """Channels of the residual path."""
    latents: int
    """Channels of the latents of a block."""
    levels: int
    """Resolutions: the first has half of the image's height and width, each other half of those of the one before."""
    blocks: int
    """Blocks of a level."""
    flow_steps: int
    """Steps of inverse autoregressive flow of a block's posterior; 0: Gaussian."""


class ImageVAE(nn.Module):
    """A variational auto-encoder of images, with latents in every block.

    Args:
        channels: of the images.
        image_size: height and width of the images.
        sizes: of the network.
        likelihood: of the pixels.

    Raises:
        ValueError: height or width cannot be halved so often.
    """

    def __init__(
        self,
        channels: int,
        image_size: tuple[int, int],
        sizes: VAESizes,
        likelihood: BernoulliPixels | LogisticPixels,
    ) -> None:
        super().__init__()
        height, width = image_size
        if height % 2**sizes.levels or width % 2**sizes.levels:
            raise ValueError(f"images of {height} × {width} cannot be halved {sizes.levels} times: take fewer levels")
        self.likelihood = likelihood
        top = (height >> sizes.levels, width >> sizes.levels)
        self.top = nn.Parameter(0.1 * torch.randn(sizes.features, *top))
        self.enter = nn.Conv2d(channels, sizes.features, 5, stride=2, padding=2)
        halvings = [level > 0 and block == 0 for level in range(sizes.levels) for block in range(sizes.blocks)]
        self.blocks = nn.ModuleList(
            StochasticBlock(sizes.features, sizes.latents, sizes.flow_steps, halving=halving) for halving in halvings
        )
        self.leave = nn.Conv2d(sizes.features, channels, 5, padding=2)

    def forward(self, images: Tensor, noise: torch.Generator | None = None) -> Bound:
        """The bound of each image `[B, C, H, W]` of values from 0 to 1, with latents drawn from `noise`."""
        outputs, divergence = self._pass(images, noise)
        return Bound(self.likelihood.log_likelihood(outputs, images), divergence)

    def reconstruct(self, images: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Expected pixels given latents drawn from the posterior."""
        return self.likelihood.mean(self._pass(images, noise)[0])

    def sample(self, number: int, noise: torch.Generator | None = None) -> Tensor:
        """Expected pixels `[number, C, H, W]` given latents drawn from the prior."""
        features = self.top.expand(number, -1, -1, -1)
        for block in self._blocks()[::-1]:
            features, _ = block.down(features, None, noise)
        return self.likelihood.mean(self._outputs(features))

    def _pass(self, images: Tensor, noise: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """The decoder's outputs `[B, C, H, W]` and the divergence `[B, K]`, K channels of latents of all blocks."""
        features, found = self.enter(images - 0.5), []
        for block in self._blocks():
            features, evidence = block.up(features)
            found.append(evidence)
        features, divergences = self.top.expand(len(images), -1, -1, -1), []
        for block, evidence in zip(self._blocks()[::-1], found[::-1], strict=True):
            features, divergence = block.down(features, evidence, noise)
            divergences.append(divergence)
        return self._outputs(features), torch.cat(divergences, 1)

    def _blocks(self) -> list[StochasticBlock]:
        """The blocks from the lowest to the highest."""
        return [block for block in self.blocks if isinstance(block, StochasticBlock)]

    def _outputs(self, features: Tensor) -> Tensor:
        return self.leave(F.interpolate(F.elu(features), scale_factor=2.0))


def initialize(network: nn.Module, images: Tensor, generator: torch.Generator) -> None:
    """The paper's data-dependent initialization from a minibatch of images, in place.

    Args:
        network: an `ImageVAE`, plain or normalized; its latents are drawn from torch's global generator.
        images: `[B, C, H, W]` of values from 0 to 1.
        generator: from which weights are drawn.
    """
    wnrl.data_init(network, images, generator=generator)
    for module in network.modules():
        if isinstance(module, MaskedConv2d):
            module.clear_masked()
