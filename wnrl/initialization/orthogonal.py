"""The initialization that actor-critics are usually trained from."""

from __future__ import annotations

import math

import torch
from torch import nn

from wnrl.normalizers.layer_kinds import is_dense, is_recurrent
from wnrl.weight_norm.normalized_layer import NormalizedLayer

GAINS = {"torso": math.sqrt(2), "value_torso": math.sqrt(2), "core": 1.0, "policy": 0.01, "value": 1.0}
"""By the names of an actor-critic's parts."""


@torch.no_grad()
def orthogonal_init(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw orthogonal weights with the gains `GAINS` for an actor-critic, in place; biases become 0.

    Huang et al. 2022 ("The 37 implementation details of proximal policy optimization", core detail 2, and LSTM detail 1
    for the core, of which each matrix is orthogonal); Engstrom et al. 2020. It comes before normalization: with a
    normalizer that keeps the function, the effective weights have it.

    Args:
        network: a plain `ActorCritic` or `RecurrentActorCritic`; noisy layers get it for their means.
        generator: of the draws, on the parameters' device; without it the global one.

    Raises:
        ValueError: the network is normalized already.
    """
    if any(isinstance(module, NormalizedLayer) for module in network.modules()):
        raise ValueError(f"orthogonal_init comes before normalize, but the {type(network).__name__} is normalized")
    for name, part in network.named_children():
        if name in GAINS:
            _set_orthogonal(part, GAINS[name], generator)


def _set_orthogonal(part: nn.Module, gain: float, generator: torch.Generator | None) -> None:
    for layer in part.modules():
        if is_dense(layer) or is_recurrent(layer):
            for name, parameter in layer.named_parameters(recurse=False):
                if name.startswith("weight"):
                    nn.init.orthogonal_(parameter, gain, generator)
                else:
                    nn.init.zeros_(parameter)
