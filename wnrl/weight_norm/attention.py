"""Weight-normalized multi-head attention."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from wnrl.weight_norm.several_weights import SeveralWeights
from wnrl.weight_norm.weight_norm_layer import computed

_PROJECTIONS = ("q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_weight")  # as torch registers them


class WeightNormMultiheadAttention(SeveralWeights, nn.MultiheadAttention):
    """A weight-normalized `torch.nn.MultiheadAttention`; same arguments.

    Each row of the projections has its own length: those of the queries, keys and values, packed in `in_proj_g`
    `[3E]` and `in_proj_v` `[3E, E]`, or `q_proj_g`, `q_proj_v`, `k_proj_g`, … where keys or values have sizes of their
    own, and those of the output projection, whose layer `out_proj` is a `WeightNormLinear`.
    """

    plain_class = nn.MultiheadAttention
    weight_names = ("in_proj_weight",)
    q_proj_weight = computed("q_proj_weight")
    k_proj_weight = computed("k_proj_weight")
    v_proj_weight = computed("v_proj_weight")
    in_proj_weight = computed("in_proj_weight")

    @classmethod
    def names_in(cls, layer: nn.Module) -> tuple[str, ...]:
        """The projections that the layer has: packed, or of queries, keys and values."""
        return tuple(name for name in _PROJECTIONS if layer._parameters.get(name) is not None) or ("in_proj_weight",)

    def forward(self, query: Any, key: Any, value: Any, *arguments: Any, **keywords: Any) -> Any:
        """As the plain layer; each effective weight is computed once."""
        layer = self if torch.compiler.is_compiling() else self.with_weights_computed()
        return nn.MultiheadAttention.forward(layer, query, key, value, *arguments, **keywords)
