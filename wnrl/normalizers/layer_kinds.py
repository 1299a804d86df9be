"""The kinds of layers that can be normalized, and the output layers of a network."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized

from wnrl.weight_norm import convolutions
from wnrl.weight_norm.dense import WeightNormBilinear, WeightNormLayer, WeightNormLinear
from wnrl.weight_norm.recurrent import RECURRENT_WEIGHT_NORM_LAYERS

WEIGHT_NORM_LAYERS: dict[type[nn.Module], type[WeightNormLayer]] = {
    layer.plain_class: layer
    for layer in (
        WeightNormLinear,
        WeightNormBilinear,
        convolutions.WeightNormConv1d,
        convolutions.WeightNormConv2d,
        convolutions.WeightNormConv3d,
        convolutions.WeightNormConvTranspose1d,
        convolutions.WeightNormConvTranspose2d,
        convolutions.WeightNormConvTranspose3d,
    )
}
"""Dense, bilinear and convolutional layers, by plain class."""


def is_dense(module: nn.Module) -> bool:
    """Whether `module` is a dense, bilinear or convolutional layer, plain or weight-normalized."""
    return type(module) in WEIGHT_NORM_LAYERS or isinstance(module, WeightNormLayer)


def is_recurrent(module: nn.Module) -> bool:
    """Whether `module` is a recurrent layer or cell, plain or weight-normalized."""
    return isinstance(module, (nn.RNNBase, nn.RNNCellBase, *RECURRENT_WEIGHT_NORM_LAYERS.values()))


def is_without_weight(module: nn.Module) -> bool:
    """Whether `module` is such a layer, but its weight is computed from others, or lazy and not there yet."""
    derived = is_parametrized(module) or isinstance(module, LazyModuleMixin)
    names = ("weight", *vars(module).get("_flat_weights_names", ()))
    computed = any(isinstance(vars(module).get(name), Tensor) for name in names)  # by torch's older functions
    return (derived or computed) and isinstance(module, (*WEIGHT_NORM_LAYERS, *RECURRENT_WEIGHT_NORM_LAYERS))


def output_modules(network: nn.Module) -> set[nn.Module]:
    """The `output_layers` of the heads of `network`, else its last dense or convolutional layer; with all their parts.

    A network without heads that ends with a recurrent layer has none.
    """
    heads = [cast(Any, module).output_layers for module in network.modules() if hasattr(module, "output_layers")]
    if heads:
        return {part for head in heads for layer in head for part in layer.modules()}
    last = [module for module in network.modules() if is_dense(module) or is_recurrent(module)][-1:]
    return {module for module in last if is_dense(module)}


def unknown_name(what: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for an unknown name, which lists the nearest names and all known ones."""
    names = [other for other in known if other]
    near = ", ".join(difflib.get_close_matches(name, names))
    return ValueError(f"unknown {what} {name!r}{f' (nearest: {near})' if near else ''}; known: {', '.join(names)}")
