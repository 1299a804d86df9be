"""The kinds of layers that can be normalized, and the output layers of a network."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized

from wnrl.weight_norm import convolutions, recurrent
from wnrl.weight_norm.attention import WeightNormMultiheadAttention
from wnrl.weight_norm.dense import WeightNormBilinear, WeightNormLinear
from wnrl.weight_norm.embedding import WeightNormEmbedding, WeightNormEmbeddingBag
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.several_weights import SeveralWeights
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

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

RECURRENT_WEIGHT_NORM_LAYERS: dict[type[nn.Module], type[SeveralWeights]] = {
    layer.plain_class: layer
    for layer in (
        recurrent.WeightNormLSTM,
        recurrent.WeightNormGRU,
        recurrent.WeightNormRNN,
        recurrent.WeightNormLSTMCell,
        recurrent.WeightNormGRUCell,
        recurrent.WeightNormRNNCell,
        WeightNormMultiheadAttention,
    )
}
"""Layers with several weights: recurrent layers and cells, and attention, by plain class."""

EMBEDDING_WEIGHT_NORM_LAYERS: dict[type[nn.Module], type[WeightNormLayer]] = {
    layer.plain_class: layer for layer in (WeightNormEmbedding, WeightNormEmbeddingBag)
}
"""Embeddings, by plain class."""

_ALL = WEIGHT_NORM_LAYERS | RECURRENT_WEIGHT_NORM_LAYERS | EMBEDDING_WEIGHT_NORM_LAYERS
_DENSE, _RECURRENT = tuple(WEIGHT_NORM_LAYERS), tuple(RECURRENT_WEIGHT_NORM_LAYERS)
_EMBEDDINGS = tuple(EMBEDDING_WEIGHT_NORM_LAYERS)


def weight_norm_kind(layer: nn.Module) -> type[WeightNormLayer]:
    """The weight-normalized class of the torch class from which that of `layer` derives.

    Raises:
        KeyError: it derives from none that can be normalized.
    """
    return next((_ALL[kind] for kind in type(layer).__mro__ if kind in _ALL), None) or _ALL[type(layer)]


def is_dense(module: nn.Module) -> bool:
    """Whether `module` is a dense, bilinear or convolutional layer, or of a subclass, plain or normalized."""
    return isinstance(module, _DENSE) and not is_without_weight(module)


def is_recurrent(module: nn.Module) -> bool:
    """Whether `module` has several weights, plain or normalized: a recurrent layer or cell, or attention."""
    return isinstance(module, _RECURRENT) and not is_without_weight(module)


def is_embedding(module: nn.Module) -> bool:
    """Whether `module` is an embedding, plain or normalized."""
    return isinstance(module, _EMBEDDINGS) and not is_without_weight(module)


def is_without_weight(module: nn.Module) -> bool:
    """Whether `module` is such a layer, but its weight is computed from others, or lazy and not there yet."""
    if isinstance(module, NormalizedLayer) or not isinstance(module, tuple(_ALL)):
        return False
    names = ("weight", *vars(module).get("_flat_weights_names", ()))
    computed = any(isinstance(vars(module).get(name), Tensor) for name in names)  # by torch's older functions
    return computed or is_parametrized(module) or isinstance(module, LazyModuleMixin)


def output_modules(network: nn.Module) -> set[nn.Module]:
    """The `output_layers` of the heads of `network`, else its last dense or convolutional layer; with all their parts.

    A network without heads that ends with a recurrent layer has none.
    """
    heads = _declared(network, "output_layers")
    if heads:
        for layer in (layer for head in heads for layer in head):
            if not isinstance(layer, nn.Module):
                raise ValueError(f"output_layers holds the layers themselves, got {layer!r}")
        return {part for head in heads for layer in head for part in layer.modules()}
    last = [module for module in network.modules() if is_dense(module) or is_recurrent(module)][-1:]
    return {module for module in last if is_dense(module)}


def policy_modules(network: nn.Module) -> set[nn.Module]:
    """The `policy_layers` of modules of `network`, the layers that compute an actor-critic's policy; with all parts."""
    policies = _declared(network, "policy_layers")
    layers = [layer for layers in policies for layer in layers if isinstance(layer, nn.Module)]
    return {part for layer in layers for part in layer.modules()}


def _declared(network: nn.Module, name: str) -> list[Any]:
    """What modules of `network` list under `name`, or as a policy of `wnrl.sb3`, whose attributes are its users'."""
    found = []
    for module in network.modules():
        layers = getattr(module, f"_wnrl_{name}", None)
        layers = getattr(module, name, None) if layers is None else layers
        if isinstance(layers, (tuple, list, set)):  # not a child, or a number, that happens to have that name
            found.append(layers)
    return found


def unknown_name(what: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for an unknown name, which lists the nearest names and all known ones."""
    names = [other for other in known if other]
    near = ", ".join(difflib.get_close_matches(name, names))
    return ValueError(f"unknown {what} {name!r}{f' (nearest: {near})' if near else ''}; known: {', '.join(names)}")
