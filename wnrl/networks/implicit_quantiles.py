"""A head that gives the quantiles of return distributions at any levels."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from wnrl.device import without_autocast
from wnrl.networks.heads import Head, QuantileValues


class ImplicitQuantileHead(Head):
    """Quantiles of return distributions at given levels τ (Dabney et al. 2018, IQN, section 3.1, equation 4).

    For each level the layer is applied to features ⊙ φ(τ), φ(τ) = ReLU(linear(cos(π i τ), i = 0 … cosines − 1)). The
    linear map of φ is never noisy.

    Args:
        in_features: F.
        num_actions: A.
        cosines: n, size of the embedding of a level.
        quantiles: K where no levels are given: they are then (2i + 1)/2K, so that acting is deterministic.
        layer: makes the layer from F and A; may make a `HeadMLP` or a `DuelingLayer`.

    Raises:
        ValueError: `cosines` or `quantiles` is below 1.
    """

    frequencies: Tensor
    taus: Tensor

    def __init__(
        self,
        in_features: int,
        num_actions: int,
        cosines: int = 64,
        quantiles: int = 32,
        layer: Callable[[int, int], nn.Module] = nn.Linear,
    ) -> None:
        if min(cosines, quantiles) < 1:
            raise ValueError(f"cosines and quantiles must be at least 1, got {cosines} and {quantiles}")
        nn.Module.__init__(self)  # not that of Head: modules are registered in the order in which they are called
        self.embedding = nn.Sequential(nn.Linear(cosines, in_features), nn.ReLU())
        self.layer = layer(in_features, num_actions)
        self.out_features = num_actions
        self.register_buffer("frequencies", math.pi * torch.arange(cosines, dtype=torch.float32))
        self.register_buffer("taus", (torch.arange(quantiles) + 0.5) / quantiles)

    def forward(self, features: Tensor, taus: Tensor | None = None) -> QuantileValues:
        """Quantiles and their means for features `[B, F]`; B may be several leading dimensions.

        Args:
            features: `[B, F]`.
            taus: levels in [0, 1], `[B, K]` with any K; None takes the head's own.

        Raises:
            ValueError: the batch dimensions of `taus` are not those of the features.
        """
        if taus is None:
            taus = self.taus.expand(*features.shape[:-1], -1)
        if taus.shape[:-1] != features.shape[:-1]:
            raise ValueError(f"expected taus {[*features.shape[:-1]]} + [K], got {list(taus.shape)}")
        with without_autocast(features.device):
            embedded = self.embedding((taus.float().unsqueeze(-1) * self.frequencies).cos())  # [B, K, F]
            outputs = self.layer(features.float().unsqueeze(-2) * embedded)  # [B, K, A]
        quantiles = outputs.transpose(-1, -2)  # [B, A, K]
        return QuantileValues(quantiles.mean(-1), quantiles, taus)


def split_levels(outputs: QuantileValues, number: int) -> tuple[QuantileValues, QuantileValues]:
    """The outputs at the first `number` levels and those at the others, each with its own means.

    Args:
        outputs: at levels `[B, K]`.
        number: below K, at least 1.
    """
    first, others = outputs.quantiles[..., :number], outputs.quantiles[..., number:]
    return (
        QuantileValues(first.mean(-1), first, outputs.taus[..., :number]),
        QuantileValues(others.mean(-1), others, outputs.taus[..., number:]),
    )
