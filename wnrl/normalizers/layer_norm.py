"""Layer normalization (Ba et al. 2016) after a layer and before its nonlinearity."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.rows import rows


class LayerNormalized(NormalizedLayer):
    """A plain layer, followed by layer normalization over all units of one example, with a scale and a shift per unit.

    After a convolution, mean and variance run over channels and positions (Ba et al. 2016, section 6.7; PQN, Gallici
    et al. 2024, does the same), which is `torch.nn.GroupNorm` with one group.
    """

    def __init__(self, layer: nn.Module, channel_dim: int) -> None:
        super().__init__()
        weight: Tensor = layer.weight  # type: ignore[assignment]
        features = len(rows(layer, weight))
        self.layer, self.channel_dim = layer, channel_dim
        self.norm = (nn.LayerNorm(features) if channel_dim == -1 else nn.GroupNorm(1, features)).to(weight)
        self.norm.requires_grad_(weight.requires_grad)
        self.train(layer.training)

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """As the plain layer."""
        t = self.layer(*inputs, **keywords)
        if isinstance(self.norm, nn.GroupNorm) and t.ndim == -self.channel_dim:  # one image: [C, H, W]
            return self.norm(t.unsqueeze(0)).squeeze(0)
        return self.norm(t)

    def fold(self) -> nn.Module:
        """A copy: the statistics depend on the example."""
        return copy.deepcopy(self)

    def folded(self) -> dict[str, Tensor]:
        """The parameters."""
        return dict(self.named_parameters())

    @torch.no_grad()
    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """Copy the parameters."""
        for name, parameter in self.named_parameters():
            parameter.copy_(parameters[name])
