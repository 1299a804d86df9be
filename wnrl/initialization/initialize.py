"""Initializations by name: the paper's and two more from data, an analytic one, and that of its published DQN code."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from wnrl.initialization.analytic import analytic_init
from wnrl.initialization.data import data_init, within_layer_init
from wnrl.initialization.lsuv import lsuv_init
from wnrl.initialization.weighted_layers import layers_to_initialize
from wnrl.normalizers.layer_kinds import unknown_name

FROM_DATA = {"data": data_init, "lsuv": lsuv_init, "within-layer": within_layer_init}
"""The initializations that need a minibatch."""
INITIALIZATIONS = ("preserve", *FROM_DATA, "analytic", "he")


@torch.no_grad()
def he_uniform_(network: nn.Module, bias: float = 0.1, generator: torch.Generator | None = None) -> None:
    """Draw each weight from U(−√(3/n), √(3/n)), n inputs a row, and set each bias, in place.

    The initialization in the paper's published DQN code (He-uniform with gain 1, bias 0.1), for dense, bilinear and
    convolutional layers, plain or normalized. The effective weight is the one drawn, except under `projected` and
    `spectral`, which divide it by their norms. Running statistics are reset. Recurrent layers, attention and layers
    with frozen weights stay as they are.

    Args:
        network: plain or normalized.
        bias: the value of every bias.
        generator: for drawing the weights; None: the global one.

    Raises:
        ValueError: no such layer, or a layer whose weight or bias is parametrized.
    """
    for layer in layers_to_initialize(network):
        drawn = layer.empty_rows(generator)
        bound = math.sqrt(3.0 / drawn[0].numel())
        layer.set_weight_and_bias(drawn.uniform_(-bound, bound, generator=generator), bias)


def initialize(
    network: nn.Module, init: str, *inputs: Any, generator: torch.Generator | None = None, **keywords: Any
) -> None:
    """Initialize `network` with the initialization named `init`, in place.

    Args:
        network: plain or normalized.
        init: `preserve` (the weights stay as they are), `analytic`, `he`; from a minibatch: `data` (the paper's),
            `lsuv` (Mishkin & Matas 2016), `within-layer` (Krähenbühl et al. 2016).
        inputs: a minibatch, see `data_init`; ignored by those that need none.
        generator: for drawing; None: the global one.
        keywords: inputs by name.

    Raises:
        ValueError: an unknown name, or an error of that initialization.
    """
    if init not in INITIALIZATIONS:
        raise unknown_name("initialization", init, INITIALIZATIONS)
    if init in FROM_DATA:
        FROM_DATA[init](network, *inputs, generator=generator, **keywords)
    elif init == "analytic":
        analytic_init(network, generator)
    elif init == "he":
        he_uniform_(network, generator=generator)
