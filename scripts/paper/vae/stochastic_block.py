"""A ResNet block with latents of its own, passed upwards by the encoder and downwards by the decoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from paper.gaussian import Gaussian
from paper.vae.autoregressive_flow import FlowStep
from torch import Tensor, nn
from torch.nn import functional as F

RESIDUAL_SCALE = 0.1  # of a block's residual branch, as in the code of Kingma et al. 2016
PARAMETER_SCALE = 0.1  # of the Gaussians' means and log-deviations: in that code the initial scale of all layers


class Evidence(NamedTuple):
    """What the encoder passes to the posterior of a block."""

    gaussian: Gaussian
    """Summands of the posterior's mean and log-deviation, `[B, C, H, W]`."""
    context: Tensor
    """For the flow, `[B, features, H, W]`."""


class StochasticBlock(nn.Module):
    """The block of Kingma et al. 2016 with bidirectional inference.

    Upwards, a residual branch also gives evidence about the block's latents. Downwards, the features of the blocks
    above give the prior of the latents and, with the evidence, their posterior, which flow steps make more flexible;
    what was drawn enters the residual branch.

    Args:
        features: channels of the residual path.
        latents: channels C of the latents.
        flow_steps: steps of inverse autoregressive flow; 0: the posterior is Gaussian.
        halving: whether the upward pass halves height and width, and the downward pass doubles them.
    """

    def __init__(self, features: int, latents: int, flow_steps: int, *, halving: bool) -> None:
        super().__init__()
        self.halving = halving
        self._up_sizes = [latents, latents, features, features]
        self._down_sizes = [latents, latents, latents, latents, features, features]
        self.up_split = nn.Conv2d(features, sum(self._up_sizes), 3, stride=2 if halving else 1, padding=1)
        self.up_join = nn.Conv2d(features, features, 3, padding=1)
        self.down_split = nn.Conv2d(features, sum(self._down_sizes), 3, padding=1)
        self.down_join = nn.Conv2d(latents + features, features, 3, padding=1)
        self.flow = nn.ModuleList(FlowStep(latents, features) for _ in range(flow_steps))

    def up(self, features: Tensor) -> tuple[Tensor, Evidence]:
        """The features for the block above, and the evidence for this one's latents."""
        mean, log_std, context, hidden = self.up_split(F.elu(features)).split(self._up_sizes, 1)
        skipped = F.avg_pool2d(features, 2) if self.halving else features
        above = skipped + RESIDUAL_SCALE * self.up_join(F.elu(hidden))
        return above, Evidence(Gaussian(PARAMETER_SCALE * mean, PARAMETER_SCALE * log_std), context)

    def down(self, features: Tensor, evidence: Evidence | None, noise: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """The features for the block below, and log q(z | x) − log p(z) of each channel of latents, `[B, C]`.

        Args:
            features: of the block above.
            evidence: of the upward pass; None: the latents are drawn from the prior, and the second tensor is 0.
            noise: from which they are drawn.
        """
        parts = self.down_split(F.elu(features)).split(self._down_sizes, 1)
        *numbers, context, hidden = parts
        mean, log_std, shift, log_change = (PARAMETER_SCALE * number for number in numbers)
        prior = Gaussian(mean, log_std)
        if evidence is None:
            z = prior.draw(noise)
            divergence = torch.zeros_like(z)
        else:
            posterior = Gaussian(shift + evidence.gaussian.mean, log_change + evidence.gaussian.log_std)
            z = posterior.draw(noise)
            log_q = posterior.log_density(z)
            z, log_q = flowed(self.flow, z, log_q, context + evidence.context)
            divergence = log_q - prior.log_density(z)
        hidden = F.elu(torch.cat([z, hidden], 1))
        if self.halving:
            features, hidden = (F.interpolate(each, scale_factor=2.0) for each in (features, hidden))
        return features + RESIDUAL_SCALE * self.down_join(hidden), divergence.sum((2, 3))


def flowed(steps: Iterable[nn.Module], z: Tensor, log_q: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """Latents after these flow steps, and their log-density; all `[B, C, H, W]`."""
    for step in steps:
        z, gain = step(z, context)
        log_q = log_q + gain
    return z, log_q
