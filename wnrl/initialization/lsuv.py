"""Layer-sequential unit-variance initialization (Mishkin & Matas 2016, arXiv 1511.06422)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from wnrl.initialization.data import are_constant
from wnrl.initialization.minibatch import Outputs, Rule, initialize_layers
from wnrl.initialization.weighted_layers import WeightedLayer

TOLERANCE = 0.1  # of the variance, as in the paper's algorithm 1
MOST_ITERATIONS = 10


def lsuv_init(network: nn.Module, *inputs: Any, generator: torch.Generator | None = None, **keywords: Any) -> None:
    """Initialize every layer with orthonormal weights whose outputs have variance 1 on one minibatch, in place.

    Algorithm 1 of Mishkin & Matas 2016: orthonormal weights, bias 0; then layer by layer W ← W/√Var[W x], with the
    variance over all units, examples and positions, until it is within 0.1 of 1, at most 10 times. A layer is linear,
    so that once is enough; one whose outputs have variance 0.9 to 1.1 stays orthonormal. Unlike `data_init` it centers
    no unit, and scales all rows of a layer alike. Weight-normalized layers get the same effective weights. Of a
    convolution the kernel is orthonormal as a matrix `[out, in · positions]`. Arguments and errors are those of
    `data_init`; a layer whose outputs are all equal keeps its orthonormal weights, with a warning.
    """
    initialize_layers(network, _unit_variance(generator), "lsuv_init", inputs, keywords)


def _unit_variance(generator: torch.Generator | None) -> Rule:
    def rule(layer: WeightedLayer, outputs: Outputs) -> str:
        directions = nn.init.orthogonal_(layer.empty_rows(generator), generator=generator)
        lengths = directions.flatten(1).norm(dim=1).to(layer.directions.device)
        zero = torch.zeros_like(lengths)
        scale = 1.0
        for _ in range(MOST_ITERATIONS + 1):
            layer.set_rows(directions, lengths * scale)
            layer.subtract(zero)
            variance, constant = _variance(layer, outputs())
            if abs(variance - 1) < TOLERANCE:
                break
            if constant:
                layer.set_rows(directions, lengths)
                layer.subtract(zero)
                return f"the outputs of {layer} are constant over the minibatch: its weights stay orthonormal"
            scale /= variance**0.5
        return ""

    return rule


def _variance(layer: WeightedLayer, outputs: Tensor) -> tuple[float, bool]:
    """Over all units, examples and positions, and whether that is rounding alone."""
    dtype = torch.promote_types(outputs.dtype, torch.float32)
    variance, mean = torch.var_mean(outputs.to(dtype), correction=0)
    if not bool(torch.isfinite(variance)):
        raise ValueError(f"the pre-activations of {layer} are not finite: check the minibatch and the network")
    return float(variance), bool(are_constant(layer, mean, variance.sqrt(), outputs.dtype))
