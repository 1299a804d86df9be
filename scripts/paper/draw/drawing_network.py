"""DRAW (Gregor et al. 2015): a recurrent variational auto-encoder that draws an image in several steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from paper.bound import Bound
from paper.draw.looking import AttentiveReader, AttentiveWriter, WholeReader, WholeWriter
from paper.gaussian import Gaussian, divergence, standard_normal
from paper.likelihoods import BernoulliPixels
from torch import Tensor, nn

from wnrl.weight_norm.recurrent import with_weights_computed


@dataclass(frozen=True)
class DrawSizes:
    """Sizes of the network."""

    steps: int
    """T: so often it reads and writes ("glimpses")."""
    units: int
    """Units of the LSTM of the encoder, and of that of the decoder."""
    latents: int
    """Latents of a step."""
    read: int
    """Filters of the reading window in each direction; 0: no attention."""
    write: int
    """Filters of the writing window in each direction; 0: no attention."""


class Drawn(NamedTuple):
    """A step of drawing."""

    canvas: Tensor
    """Logits of the pixels so far, `[B, H, W]`."""
    divergence: Tensor
    """Of the step's latents from their prior, `[B]` in nats; 0 where they were drawn from it."""


class DrawingNetwork(nn.Module):
    """Images `[B, 1, H, W]` of pixels 0 or 1 to their bound; both LSTMs are cells that are called for each step.

    Args:
        image_size: height and width of the images.
        sizes: of the network.
    """

    def __init__(self, image_size: tuple[int, int], sizes: DrawSizes) -> None:
        super().__init__()
        self._image_size, self._sizes = image_size, sizes
        units, read, write = sizes.units, sizes.read, sizes.write
        self.reader = AttentiveReader(units, image_size, read) if read else WholeReader(image_size)
        self.encoder = nn.LSTMCell(int(self.reader.outputs) + units, units)
        self.posterior = nn.Linear(units, 2 * sizes.latents)
        self.decoder = nn.LSTMCell(sizes.latents, units)
        self.writer = AttentiveWriter(units, image_size, write) if write else WholeWriter(units, image_size)
        self.likelihood = BernoulliPixels()

    def forward(self, images: Tensor, noise: torch.Generator | None = None) -> Bound:
        """The bound of each image, its divergence by step `[B, T]`; latents are drawn from `noise`."""
        steps = list(self.steps(images, len(images), noise))
        log_likelihood = self.likelihood.log_likelihood(steps[-1].canvas[:, None], images)
        return Bound(log_likelihood, torch.stack([step.divergence for step in steps], 1))

    def reconstruct(self, images: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Expected pixels after each step, `[T, B, 1, H, W]`, given latents drawn from the posterior."""
        return self._film(self.steps(images, len(images), noise))

    def sample(self, number: int, noise: torch.Generator | None = None) -> Tensor:
        """Expected pixels after each step, `[T, number, 1, H, W]`, given latents drawn from the prior."""
        return self._film(self.steps(None, number, noise))

    def steps(self, images: Tensor | None, number: int, noise: torch.Generator | None) -> Iterator[Drawn]:
        """Equations 3 to 8, step by step.

        Args:
            images: `[B, 1, H, W]`; None: the latents are drawn from their prior.
            number: B.
            noise: from which they are drawn.
        """
        encode, decode = with_weights_computed(self.encoder), with_weights_computed(self.decoder)
        zeros = self.posterior.bias.new_zeros
        canvas = zeros(number, *self._image_size)
        encoded = decoded = (zeros(number, self._sizes.units), zeros(number, self._sizes.units))  # h and c
        for _ in range(self._sizes.steps):
            prior = standard_normal(zeros(number, self._sizes.latents))
            if images is None:
                z, cost = prior.draw(noise), zeros(number)
            else:
                missing = images[:, 0] - canvas.sigmoid()
                seen = self.reader(images[:, 0], missing, decoded[0])
                encoded = encode(torch.cat([seen, decoded[0]], 1), encoded)
                posterior = Gaussian(*self.posterior(encoded[0]).chunk(2, 1))
                z, cost = posterior.draw(noise), divergence(posterior, prior).sum(1)
            decoded = decode(z, decoded)
            canvas = canvas + self.writer(decoded[0])
            yield Drawn(canvas, cost)

    def _film(self, steps: Iterator[Drawn]) -> Tensor:
        return torch.stack([self.likelihood.mean(step.canvas[:, None]) for step in steps])
