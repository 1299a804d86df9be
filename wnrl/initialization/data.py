"""The paper's data-dependent initialization (Salimans & Kingma 2016, section 3), and that of Krähenbühl et al. 2016."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from wnrl.initialization.minibatch import Outputs, Rule, initialize_layers
from wnrl.initialization.weighted_layers import WeightedLayer

DIRECTION_STD = 0.05  # section 3: v ~ N(0, 0.05²)
LEAST_DEVIATION = 1e-10  # σ below which a unit counts as constant
CONSTANT_RATIO = 84  # σ/|μ| below which a unit's variation counts as rounding, in units of ε; 1e-5 in float32


def data_init(network: nn.Module, *inputs: Any, generator: torch.Generator | None = None, **keywords: Any) -> None:
    """Initialize every layer so that its pre-activations have mean 0 and variance 1 on one minibatch, in place.

    Section 3, equations 5 and 6 of the paper: v ~ N(0, 0.05²), t = v·x/‖v‖, g ← 1/σ[t], b ← −μ[t]/σ[t], layer by layer
    within one forward pass (in evaluation mode), per output channel over batch and positions. `g` is stored in the
    layer's units. Plain layers get the weight v/(‖v‖σ), as in the paper's "normal parameterization" baseline
    (section 5.1). Under `batch` and `mean-batch` the running statistics are set instead of the bias.

    Every dense, bilinear and convolutional layer is initialized, heads too. In a layer without bias only the weight is
    set; a layer that is called several times, or whose weights are tied, is initialized by the first call. A unit that
    is constant over the minibatch gets a row of length 1 and mean 0, with a warning. The forward pass of a subclass has
    to add the bias as torch's does. Recurrent layers, attention and layers with frozen weights stay, and with a warning
    those that share their weight with a module that stays, such as an embedding.

    Args:
        network: called as `network(*inputs, **keywords)`.
        inputs: the minibatch, `[B, ...]` with B > 1 (the authors take 500 examples), in tensors, dictionaries or
            sequences.
        generator: for drawing `v`; None: the global one.
        keywords: inputs by name.

    Raises:
        ValueError: no layer to initialize, a layer that is `projected` or `spectral` or whose weight or bias is
            parametrized, one example, examples that are all equal, or values that are not finite. After any error,
            every parameter and buffer has its old value.
    """
    initialize_layers(network, _standardized(DIRECTION_STD, generator), "data_init", inputs, keywords)


def within_layer_init(
    network: nn.Module, *inputs: Any, generator: torch.Generator | None = None, **keywords: Any
) -> None:
    """Initialize every layer so that its pre-activations have mean 0 and variance 1 on one minibatch, in place.

    Krähenbühl, Doersch, Donahue & Darrell 2016 (arXiv 1511.06856), algorithm 1 with random weights: W ~ N(0, 1), then
    W ← W/σ[z] and b ← −μ[z]/σ[z] per output channel, layer by layer. Their step between layers, which makes gradients
    alike, and weights from the data's principal components are not here. The function that a network starts with has
    the distribution of `data_init`'s; with weight normalization `v` is twenty times as long, so that it turns 20
    times as slowly under Adam, 400 times under SGD. Arguments and errors are those of `data_init`.
    """
    initialize_layers(network, _standardized(1.0, generator), "within_layer_init", inputs, keywords)


def _standardized(deviation: float, generator: torch.Generator | None) -> Rule:
    """Equation 5 of Salimans & Kingma for one layer, its directions drawn from N(0, deviation²)."""

    def rule(layer: WeightedLayer, outputs: Outputs) -> str:
        directions = layer.empty_rows(generator).normal_(0.0, deviation, generator=generator)
        zero = torch.zeros(len(directions), device=layer.directions.device)
        layer.set_rows(directions, zero + 1)
        layer.subtract(zero)
        mean, std, constant = _statistics(layer, outputs())
        layer.set_rows(directions, 1 / std)
        layer.subtract(mean / std)
        if count := int(constant.sum()):
            text = f"{count} of {len(constant)} units of {layer} are constant over the minibatch"
            return f"{text}: their rows have length 1"
        return ""

    return rule


def _statistics(layer: WeightedLayer, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Per channel of `t`, each `[out]`: mean, population standard deviation (1 if constant), and which are constant."""
    rows = t.movedim(layer.channel_dim, 0).flatten(1)  # [out, batch and positions]
    variance, mean = torch.var_mean(rows.to(torch.promote_types(t.dtype, torch.float32)), dim=1, correction=0)
    if not bool(torch.isfinite(variance).all()):
        raise ValueError(f"the pre-activations of {layer} are not finite: check the minibatch and the network")
    std = variance.sqrt()
    constant = are_constant(layer, mean, std, t.dtype)
    return mean, torch.where(constant, 1.0, std), constant


def are_constant(layer: WeightedLayer, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    """Whether outputs of `layer` with this mean and standard deviation vary by no more than rounding; bool, any shape.

    Args:
        layer: whose weight has a dtype with roundings of its own.
        mean: in at least float32, as `std`.
        std: of the same shape.
        dtype: of the outputs.
    """
    kind = torch.finfo(layer.directions.dtype)
    least = max(LEAST_DEVIATION, 1 / kind.max)  # 1/σ must have a number
    ratio = max(CONSTANT_RATIO * torch.finfo(mean.dtype).eps, kind.eps, torch.finfo(dtype).eps)
    return std <= least + ratio * mean.abs()
