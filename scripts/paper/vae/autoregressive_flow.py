"""Inverse autoregressive flow (Kingma et al. 2016): a posterior whose latents depend on each other."""

from __future__ import annotations

from typing import NamedTuple

from paper.vae.masked_convolution import MaskedConv2d
from torch import Tensor, nn
from torch.nn import functional as F

OUTPUT_SCALE = 0.1  # of shifts and log-scales, as in the authors' code: at the start a step is close to the identity


class Flowed(NamedTuple):
    """Latents after a step, and what it adds to the log-density of each; both `[B, C, H, W]`."""

    z: Tensor
    log_density_gain: Tensor


class FlowStep(nn.Module):
    """One step: z' = (z − m) / exp(s), where m and s of an element depend on the elements of z before it.

    The Jacobian ∂z'/∂z is triangular with exp(−s) on its diagonal, so that log q(z') = log q(z) + Σ s, without a
    sequential computation.

    Args:
        latents: channels C of z.
        features: channels of the context and of the two hidden layers.
    """

    def __init__(self, latents: int, features: int) -> None:
        super().__init__()
        self.first = MaskedConv2d(latents, features, latents, strict=False)
        self.second = MaskedConv2d(features, features, latents, strict=False)
        self.shift = MaskedConv2d(features, latents, latents, strict=True)
        self.log_scale = MaskedConv2d(features, latents, latents, strict=True)

    def forward(self, z: Tensor, context: Tensor) -> Flowed:
        """A step from `z` `[B, C, H, W]`, given a context `[B, features, H, W]` that may depend on anything but z."""
        hidden = F.elu(self.second(F.elu(self.first(z) + context)))
        log_scale = OUTPUT_SCALE * self.log_scale(hidden)
        return Flowed((z - OUTPUT_SCALE * self.shift(hidden)) * (-log_scale).exp(), log_scale)
