"""Initialization from the shapes of the layers alone (Arpit, Campos & Bengio 2019, arXiv 1906.02341)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from wnrl.initialization.weighted_layers import (
    WeightedLayer,
    check_lengths_are_free,
    layers_to_initialize,
    weighted_layers,
)
from wnrl.normalizers.layer_kinds import output_modules, unknown_name

RELU_GAIN = 2.0  # squared: a ReLU halves the squared norm


@torch.no_grad()
def analytic_init(
    network: nn.Module, generator: torch.Generator | None = None, gains: Mapping[str, float] | None = None
) -> None:
    """Initialize hidden layers so that activations keep their norm, without data, in place.

    Arpit et al. 2019: rows of length g = √(gain · inputs/outputs), directions v orthogonal, bias 0. The squared gain is
    2 before a ReLU, 1/N for the last layer of a residual branch in a stage of N blocks, and 1 where no nonlinearity
    follows; a layer that no module declares otherwise counts as one before a ReLU, whatever follows it (see `gains`).
    inputs/outputs is fan-in over fan-out, both with the kernel's area (as in the authors' code), so the ratio of the
    channels of a convolution, grouped or transposed too. Plain layers get the same effective weight, and running
    statistics are reset. Output layers (the `output_layers` of the network's heads, else the last layer registered),
    recurrent layers, attention and layers with frozen weights stay as they are.

    Modules declare their layers by two properties: `branch_output`, the last layer of the branch of a residual block,
    and `linear_layers`, layers that no ReLU follows. A stage is a run of blocks in one container, with only modules
    without parameters between them.

    Args:
        network: any module; it is not called.
        generator: for drawing `v`; None: the global one.
        gains: squared gains by the names of layers, output layers too; they override the rules above.

    Raises:
        ValueError: no layer to initialize, a layer that is `projected` or `spectral` or whose weight or bias is
            parametrized, a gain below 0, or a name that is not a layer's.
    """
    gains = _checked(gains or {}, network)
    known, outputs = _gains(network), output_modules(network)
    layers = [layer for layer in layers_to_initialize(network) if layer.name in gains or layer.layer not in outputs]
    if not layers:
        raise ValueError(f"{type(network).__name__} has no hidden layer to initialize, only output layers")
    check_lengths_are_free(layers, "analytic_init")
    for layer in layers:
        _initialize(layer, gains.get(layer.name, known.get(layer.layer, RELU_GAIN)), generator)


def _initialize(layer: WeightedLayer, gain: float, generator: torch.Generator | None) -> None:
    directions = nn.init.orthogonal_(layer.empty_rows(generator), generator=generator)
    lengths = torch.full((len(directions),), math.sqrt(gain * _ratio(layer, directions)), dtype=directions.dtype)
    lengths = lengths.to(layer.directions.device)
    layer.set_rows(directions, lengths)
    layer.subtract(torch.zeros_like(lengths))


def _ratio(layer: WeightedLayer, directions: Tensor) -> float:
    """Inputs over outputs of a layer whose rows are `[out, inputs/groups, *kernel]`; a bilinear one has in1 · in2."""
    held: Any = layer.layer
    inputs = directions[0].numel() // math.prod(getattr(held, "kernel_size", ())) * getattr(held, "groups", 1)
    return inputs / len(directions)


def _gains(network: nn.Module) -> dict[nn.Module, float]:
    """Squared gains of the layers that modules of `network` declare."""
    linear = [cast(Any, m).linear_layers for m in network.modules() if _has_property(m, "linear_layers")]
    gains = {part: 1.0 for layers in linear for layer in layers for part in layer.modules()}
    for stage in _stages(network):
        for block in stage:
            gains |= dict.fromkeys(cast(Any, block).branch_output.modules(), 1 / len(stage))
    return gains


def _stages(network: nn.Module) -> Iterator[list[nn.Module]]:
    """Residual blocks that follow each other in one container."""
    containers: list[list[nn.Module | None]] = [[network], *([*m._modules.values()] for m in network.modules())]
    for container in containers:
        held = [module for module in container if module is not None and next(module.parameters(), None) is not None]
        for is_block, run in itertools.groupby(held, key=lambda module: hasattr(module, "branch_output")):
            if is_block:
                yield list(run)


def _has_property(module: nn.Module, name: str) -> bool:
    """Whether `module` declares a property of this name; a submodule that happens to have the name does not count."""
    return hasattr(module, name) and name not in module._modules


def _checked(gains: Mapping[str, float], network: nn.Module) -> Mapping[str, float]:
    names = [layer.name for layer in weighted_layers(network)]
    for name, gain in gains.items():
        if name not in names:
            raise unknown_name("layer in gains", name, names)
        if not 0 <= gain < math.inf:
            raise ValueError(f"gains: a squared gain must be at least 0 and finite, got {gain} for {name!r}")
    return gains
