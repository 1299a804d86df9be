"""The variational lower bound on log p(images), of which a generative model is trained to make the most."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor


class Bound(NamedTuple):
    """The two parts of the bound, estimated with one sample of the latents; in nats."""

    log_likelihood: Tensor
    """log p(x | z) of each image, `[B]`."""
    divergence: Tensor
    """log q(z | x) − log p(z) or its expectation, of each image and group of latents, `[B, K]`."""

    @property
    def nats(self) -> Tensor:
        """The lower bound on log p(x) of each image, `[B]`."""
        return self.log_likelihood - self.divergence.sum(1)

    def loss(self, free_nats: float = 0.0) -> Tensor:
        """The training loss: minus the mean bound, where a group's mean divergence counts as at least `free_nats`.

        "Free bits" of Kingma et al. 2016: below that, a group of latents has nothing to gain from carrying less.
        """
        groups = self.divergence.mean(0)  # [K]
        kept = groups.clamp(min=free_nats) if free_nats else groups  # an estimate of one sample may be below 0
        return kept.sum() - self.log_likelihood.mean()


def bits_per_dimension(nats: float, dimensions: int) -> float:
    """A bound of so many nats on the log-likelihood of an image of `dimensions` values: lower is better."""
    return -nats / (dimensions * math.log(2))
