"""Diagonal Gaussians: drawing by reparameterization, density, and divergence."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Gaussian(NamedTuple):
    """Independent normal distributions, one per element; both tensors have the same shape."""

    mean: Tensor
    log_std: Tensor

    def draw(self, noise: torch.Generator | None = None) -> Tensor:
        """A sample, differentiable in mean and standard deviation (Kingma & Welling 2014), drawn from `noise`."""
        mean = self.mean
        standard = torch.randn(mean.shape, generator=noise, dtype=mean.dtype, device=mean.device)
        return mean + self.log_std.exp() * standard

    def log_density(self, z: Tensor) -> Tensor:
        """Of each element of `z`, in nats."""
        distance = (z - self.mean) * torch.exp(-self.log_std)
        return -0.5 * (math.log(2 * math.pi) + distance**2) - self.log_std


def divergence(posterior: Gaussian, prior: Gaussian) -> Tensor:
    """Kullback-Leibler divergence of `posterior` from `prior`, of each element, in nats: in closed form."""
    ratio = posterior.log_std - prior.log_std
    distance = (posterior.mean - prior.mean) * torch.exp(-prior.log_std)
    return 0.5 * (torch.exp(2 * ratio) + distance**2 - 1) - ratio


def standard_normal(like: Tensor) -> Gaussian:
    """Mean 0 and standard deviation 1, in the shape of `like`."""
    return Gaussian(torch.zeros_like(like), torch.zeros_like(like))
