"""Layer normalization (Ba et al. 2016) after a layer and before its nonlinearity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from wnrl.weight_norm.normalized_layer import NormalizedLayer, mix_in
from wnrl.weight_norm.rows import channel_dim, rows

if TYPE_CHECKING:
    from typing_extensions import Self


class LayerNormalized(NormalizedLayer):
    """A plain layer, followed by layer normalization over all units of one example, with a scale and a shift per unit.

    After a convolution, mean and variance run over channels and positions (Ba et al. 2016, section 6.7), which is
    `torch.nn.GroupNorm` with one group. CleanRL's PQN has these statistics, with a scale and shift for each position.
    """

    _label = "Layernorm"

    own_parts = ("norm",)
    norm: nn.LayerNorm | nn.GroupNorm

    @property
    def can_be_folded(self) -> bool:
        """No: the statistics depend on the example."""
        return False

    @classmethod
    def convert(cls, layer: nn.Module, *mixins: type[NormalizedLayer]) -> Self:
        """Turn a plain layer into such a layer, in place; further mixins follow this one."""
        mix_in(layer, cls, *mixins)
        weight = cast(nn.Parameter, layer.weight)
        norm = cls._norm(len(rows(layer, weight)), channel_dim(layer)).to(weight)
        layer.add_module("norm", norm.requires_grad_(weight.requires_grad).train(layer.training))
        return cast("Self", layer)

    @staticmethod
    def _norm(features: int, dim: int) -> nn.Module:
        return nn.LayerNorm(features) if dim == -1 else nn.GroupNorm(1, features)

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """As the plain layer."""
        return self._normalized(self.before_norm(*inputs, **keywords))

    def before_norm(self, *inputs: Any, **keywords: Any) -> Tensor:
        """The layer's output before its own normalization."""
        return super().forward(*inputs, **keywords)

    def _normalized(self, t: Tensor) -> Tensor:
        if isinstance(self.norm, nn.GroupNorm) and t.ndim == -channel_dim(self):  # one image: [C, H, W]
            return self.norm(t.unsqueeze(0)).squeeze(0)
        return self.norm(t)

    def folded(self) -> dict[str, Tensor]:
        """The parameters, those of the normalization too: the statistics depend on the example."""
        return {**super().folded(), **dict(self.norm.named_parameters("norm"))}

    @torch.no_grad()
    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """Copy the parameters; those of a plain layer leave the normalization as it is."""
        super().unfold(parameters)
        for name, parameter in self.norm.named_parameters("norm"):
            parameter.copy_(parameters.get(name, parameter))


class ChannelLayerNormalized(LayerNormalized):
    """As `LayerNormalized`, but after a convolution mean and variance run over the channels alone, at each position.

    The published code of PQN (Gallici et al. 2024, purejaxql) has it: flax's `LayerNorm` on images `[B, H, W, C]`.
    """

    _label = "ChannelLayernorm"

    @staticmethod
    def _norm(features: int, dim: int) -> nn.Module:
        return nn.LayerNorm(features)

    def _normalized(self, t: Tensor) -> Tensor:
        dim = t.ndim + channel_dim(self)  # torch's older ONNX exporter has no negative ones
        return self.norm(t.movedim(dim, t.ndim - 1)).movedim(t.ndim - 1, dim)
