"""Weight-normalized embeddings: each entry of the table is a row with its own length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wnrl.weight_norm.formula import effective_weight
from wnrl.weight_norm.units import gain_of_g
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer, computed


class _Table(WeightNormLayer):
    @classmethod
    def check_plain(cls, layer: nn.Module) -> None:
        """As in the base class; sparse gradients and a bound on the norms are refused."""
        super().check_plain(layer)
        if layer.sparse:
            raise ValueError(f"sparse=True of {layer} cannot be weight-normalized: g and v have dense gradients")
        if layer.max_norm is not None:
            raise ValueError(f"max_norm of {layer} cannot be weight-normalized: g is the norm of its row")

    def _read(self, input: Tensor, padding_idx: int | None) -> Tensor:
        """The effective rows `[..., D]` of the indices; only these are normalized."""
        v, g = self.pair()
        by_frequency = bool(self.scale_grad_by_freq)
        read = F.embedding(input, v, padding_idx, scale_grad_by_freq=by_frequency)
        lengths = F.embedding(input, g[:, None], padding_idx, scale_grad_by_freq=by_frequency)
        gain = gain_of_g(lengths, self.units).flatten()
        by_row = read.flatten(0, -2) if read.ndim > 1 else read[None]
        return effective_weight(by_row, gain, self._scales["weight"], ballast=self._ballast).view_as(read)


class WeightNormEmbedding(_Table, nn.Embedding):
    """A weight-normalized `torch.nn.Embedding`: indices `[...]` to `[..., D]`; same arguments.

    Each entry of the table is a row with its own length; only the rows that are read are normalized.

    Raises:
        ValueError: sparse=True or max_norm.
    """

    plain_class = nn.Embedding
    weight = computed("weight")

    def forward(self, input: Tensor) -> Tensor:
        """`[...]` to `[..., embedding_dim]`."""
        return self._read(input, self.padding_idx)


class WeightNormEmbeddingBag(_Table, nn.EmbeddingBag):
    """A weight-normalized `torch.nn.EmbeddingBag`: bags of indices to `[B, D]`; same arguments.

    Each entry of the table is a row with its own length; only the rows that are read are normalized.

    Raises:
        ValueError: sparse=True or max_norm.
    """

    plain_class = nn.EmbeddingBag
    weight = computed("weight")

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        """As the plain layer: bags `[B, N]`, or `[N]` that begin at `offsets` `[B]`."""
        read = self._read(input.flatten(), self.padding_idx)  # [N, D]
        place = torch.arange(read.shape[0], device=input.device)
        padding: int | None = None
        if self.padding_idx is not None:  # entries that are left out of their bags get the place of an added row
            padding = read.shape[0]
            place = torch.where(input.flatten() == self.padding_idx, padding, place)
            read = torch.cat([read, read.new_zeros(1, read.shape[1])])
        rest: dict[str, Any] = {"include_last_offset": self.include_last_offset, "padding_idx": padding}
        weights = per_sample_weights
        return F.embedding_bag(place.view_as(input), read, offsets, mode=self.mode, per_sample_weights=weights, **rest)
