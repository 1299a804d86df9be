"""A head that values actions at any levels of the return's distribution that it is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from wnrl.device import without_autocast
from wnrl.networks.heads import Head, QuantileValues


class ImplicitQuantileHead(Head):
    """Return distributions by their quantiles at given levels τ (Dabney et al. 2018, IQN, section 3.1, equation 4).

    The outputs for τ are the layer's of features ⊙ φ(τ), φ(τ) = ReLU(linear(cos(π i τ), i = 0 … cosines − 1)). The
    linear map of φ never has noise of its own.

    Args:
        in_features: F.
        num_actions: A.
        cosines: n, size of the embedding of a level.
        quantiles: K where no levels are given: they are (2i + 1)/2K then, so that acting is deterministic.
        layer: makes the layer from F and A, a `Stream` or a `DuelingLayer` too.

    Raises:
        ValueError: no cosine, or no quantile.
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
        nn.Module.__init__(self)  # and not the base's: the layers stand in the order in which they are called
        self.embedding = nn.Sequential(nn.Linear(cosines, in_features), nn.ReLU())
        self.layer = layer(in_features, num_actions)
        self.out_features = num_actions
        self.register_buffer("frequencies", math.pi * torch.arange(cosines, dtype=torch.float32))
        self.register_buffer("taus", (torch.arange(quantiles) + 0.5) / quantiles)

    def forward(self, features: Tensor, taus: Tensor | None = None) -> QuantileValues:
        """Quantiles, and their means, of features `[B, F]`; further leading dimensions may stand for B.

        Args:
            features: `[B, F]`.
            taus: levels in [0, 1], `[B, K]`, of any K; None takes the head's own.

        Raises:
            ValueError: levels of another batch than the features.
        """
        if taus is None:
            taus = self.taus.expand(*features.shape[:-1], -1)
        if taus.shape[:-1] != features.shape[:-1]:
            raise ValueError(f"expected taus {[*features.shape[:-1]]} + [K], got {list(taus.shape)}")
        with without_autocast(features.device):
            outputs = self.layer(features.float().unsqueeze(-2) * self._embedded(taus.float()))  # [B, K, A]
        quantiles = outputs.transpose(-1, -2)  # [B, A, K]
        return QuantileValues(quantiles.mean(-1), quantiles, taus)

    def _embedded(self, taus: Tensor) -> Tensor:
        """φ of levels `[B, K]`, `[B, K, F]`."""
        return self.embedding((taus.unsqueeze(-1) * self.frequencies).cos())
