"""Orthogonal initialization, from which actor-critics are usually trained."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from wnrl.normalizers.layer_kinds import is_dense, is_recurrent
from wnrl.weight_norm.normalized_layer import NormalizedLayer


@torch.no_grad()
def orthogonal_init(network: nn.Module, gains: Mapping[str, float], generator: torch.Generator | None = None) -> None:
    """Draw orthogonal weights with a gain for each part of `network`, in place; biases become 0.

    Huang et al. 2022 ("The 37 implementation details of proximal policy optimization", core detail 2, and LSTM detail
    1: each matrix of an LSTM is orthogonal); Engstrom et al. 2020. To be called before normalization: with a normalizer
    that keeps the function, the effective weights are then the orthogonal ones.

    Args:
        network: a plain network.
        gains: by the names of the network's children; children without a gain stay as they are. Noisy layers are
            initialized in their means.
        generator: for drawing, on the device of the parameters; None: the global one.

    Raises:
        ValueError: the network is already normalized.
    """
    if any(isinstance(module, NormalizedLayer) for module in network.modules()):
        raise ValueError(f"orthogonal_init comes before normalize, but the {type(network).__name__} is normalized")
    for part_name, part in network.named_children():
        layers = [layer for layer in part.modules() if is_dense(layer) or is_recurrent(layer)]
        for layer in layers if part_name in gains else []:
            for name, parameter in layer.named_parameters(recurse=False):
                if "weight" in name:
                    nn.init.orthogonal_(parameter, gains[part_name], generator)
                else:
                    nn.init.zeros_(parameter)
