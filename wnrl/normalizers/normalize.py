"""Normalizers by name: which layers of a network each replaces, and by what."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from wnrl.normalizers.batch_norm import BatchNormalized, MeanBatchNormalized
from wnrl.normalizers.layer_kinds import (
    WEIGHT_NORM_LAYERS,
    is_dense,
    is_recurrent,
    is_without_weight,
    output_modules,
    unknown_name,
)
from wnrl.normalizers.layer_norm import LayerNormalized
from wnrl.normalizers.projection import ProjectedLayer
from wnrl.normalizers.spectral_norm import SpectralNormalized
from wnrl.normalizers.stale_optimizers import refuse_in_optimizers
from wnrl.weight_norm.dense import Units, WeightNormLayer
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.recurrent import RECURRENT_WEIGHT_NORM_LAYERS

Convert = Callable[[nn.Module, Units], nn.Module]  # from a plain layer and the units of g to its replacement


def _weight(layer: nn.Module, units: Units) -> WeightNormLayer:
    return WEIGHT_NORM_LAYERS[type(layer)].from_plain(layer, units)


def _recurrent_weight(layer: nn.Module, units: Units) -> nn.Module:
    return RECURRENT_WEIGHT_NORM_LAYERS[type(layer)].from_plain(layer, units)


def _mean_batch(layer: nn.Module, units: Units) -> nn.Module:
    return MeanBatchNormalized(_weight(layer, units))


def _batch(layer: nn.Module, units: Units) -> nn.Module:
    return BatchNormalized(copy.deepcopy(layer), WEIGHT_NORM_LAYERS[type(layer)].channel_dim)


def _layer(layer: nn.Module, units: Units) -> nn.Module:
    return LayerNormalized(copy.deepcopy(layer), WEIGHT_NORM_LAYERS[type(layer)].channel_dim)


def _projected(layer: nn.Module, units: Units) -> nn.Module:
    return ProjectedLayer(copy.deepcopy(layer))


def _spectral(layer: nn.Module, units: Units) -> nn.Module:
    return SpectralNormalized(copy.deepcopy(layer))


@dataclass(frozen=True)
class Normalizer:
    """The conversions of one normalizer, and the layers that its source converts."""

    hidden: Convert | None = None
    """For hidden dense and convolutional layers."""
    output: Convert | None = None
    """For output layers; None where normalizing them makes no sense."""
    recurrent: Convert | None = None
    """For recurrent layers and cells; None: they stay plain."""
    normalize_output: bool = False
    """Whether its source normalizes output layers."""
    last_hidden_only: bool = False
    """Whether its source normalizes only one layer, the last before the output."""


NORMALIZERS: dict[str, Normalizer] = {
    "none": Normalizer(),
    "weight": Normalizer(_weight, _weight, _recurrent_weight, normalize_output=True),
    "mean-batch": Normalizer(_mean_batch, _weight, _recurrent_weight, normalize_output=True),
    "batch": Normalizer(_batch),
    "layer": Normalizer(_layer),
    "projected": Normalizer(_projected, _projected, _projected),
    "spectral": Normalizer(_spectral, _spectral, last_hidden_only=True),
}
"""By name. Sources of the placement: `weight`, `mean-batch`: Salimans & Kingma 2016 and their code (the output layer
gets weight norm alone). `batch`: Ioffe & Szegedy 2015, section 3.2. `layer`: Gallici et al. 2024 (PQN). `projected`:
Palenicek et al. 2025 (CrossQ + WN). `spectral`: Gogianu et al. 2021, one layer."""


def normalize(
    network: nn.Module,
    norm: str,
    *,
    normalize_output: bool | None = None,
    layers: Collection[str] | Callable[[str, nn.Module], bool] | None = None,
    units: Units = "sqrt",
) -> nn.Module:
    """Normalize the layers of `network` with the normalizer `norm`, in place.

    Dense, bilinear, convolutional and recurrent layers of exactly torch's types are converted; subclasses, whose
    forward pass may differ, stay as they are. The function stays the same (`preserve`) for `none` and `weight`, and in
    evaluation mode for `mean-batch` and `batch`. Each normalizer comes before the nonlinearity. A layer that is used in
    several places stays shared. The new layers hold copies of the parameters: build the optimizer afterwards.

    Args:
        network: any module; if it is itself such a layer, only the returned one is normalized.
        norm: a name in `NORMALIZERS`.
        normalize_output: whether output layers are normalized too; None: as in the paper that introduced it. Output
            layers are the `output_layers` of the network's heads, else the last layer registered.
        layers: names of the layers to convert (as in `named_modules`), or a predicate of name and layer; None: all that
            the normalizer's source converts. Layers that the source leaves plain stay so, even if a predicate holds.
        units: of g, see `wnrl.weight_norm.dense`.

    Returns:
        The network.

    Raises:
        ValueError: unknown norm or layer, a layer that cannot be normalized (lazy, parametrized) or already is, one
            that is named but that `norm` leaves plain, tied parameters.
    """
    if norm not in NORMALIZERS:
        raise unknown_name("normalizer", norm, NORMALIZERS)
    candidates = _candidates(network, layers)
    if norm == "none":
        return network
    chosen = _chosen(candidates, output_modules(network), NORMALIZERS[norm], normalize_output, narrow=layers is None)
    if layers is not None and not callable(layers):
        _check_all_chosen(candidates, chosen, norm)
    if not chosen:
        raise ValueError(
            f"{type(network).__name__} has no layer to normalize with {norm!r}: it needs a dense or convolutional layer"
            " (a hidden one, where the output stays plain)"
        )
    _check_not_tied(network, {candidates[layer]: layer for layer in chosen})
    new = {layer: convert(layer, units) for layer, convert in chosen.items()}
    refuse_in_optimizers(parameter for layer in new for parameter in layer.parameters(recurse=False))
    return replace_modules(network, new)


def replace_modules(network: nn.Module, new: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Replace each `module` in `network` by `new[module]`, in place; returns the network or its replacement."""
    for parent in list(network.modules()):
        for name, child in parent._modules.items():
            if child is not None and child in new:
                parent._modules[name] = new[child]
    return new.get(network, network)


def _can_be_normalized(layer: nn.Module) -> bool:
    return type(layer) in WEIGHT_NORM_LAYERS or type(layer) in RECURRENT_WEIGHT_NORM_LAYERS


def _candidates(
    network: nn.Module, layers: Collection[str] | Callable[[str, nn.Module], bool] | None
) -> dict[nn.Module, str]:
    """The requested layers, which can be normalized, with their names, in order of registration."""
    modules = dict(network.named_modules())
    normalized = [name for name, module in modules.items() if isinstance(module, NormalizedLayer)]
    if layers is None or callable(layers):
        wanted = {
            name: m
            for name, m in modules.items()
            if (_can_be_normalized(m) or is_without_weight(m)) and (layers is None or layers(name, m))
        }
    else:
        layers = [layers] if isinstance(layers, str) else layers
        known = dict(network.named_modules(remove_duplicate=False))  # a shared layer by any of its names
        if missing := [name for name in layers if name not in known]:
            raise unknown_name("layer", missing[0], known)
        wanted = {name: known[name] for name in layers}
    for name, module in wanted.items():
        _check_can_be_normalized(name, module, [] if layers is None else normalized)
    if layers is None and normalized:
        raise ValueError(f"{_quoted(normalized[0])} is already normalized: normalize a plain network, and once")
    order = {module: index for index, module in enumerate(modules.values())}
    return {module: name for name, module in sorted(wanted.items(), key=lambda item: order[item[1]])}


def _check_can_be_normalized(name: str, module: nn.Module, normalized: list[str]) -> None:
    if any(name == other or name.startswith(f"{other}.") for other in normalized):
        raise ValueError(f"{_quoted(name)} is already normalized: normalize a plain layer, and once")
    if isinstance(module, LazyModuleMixin):
        raise ValueError(f"{_quoted(name)} has no shape yet: call the network once first")
    if is_without_weight(module):
        raise ValueError(f"{_quoted(name)} is parametrized: remove its parametrization first")
    if not _can_be_normalized(module):
        kinds = ", ".join(kind.__name__ for kind in (*WEIGHT_NORM_LAYERS, *RECURRENT_WEIGHT_NORM_LAYERS))
        raise ValueError(f"{_quoted(name)} is a {type(module).__name__} and cannot be normalized: choose among {kinds}")


def _chosen(
    candidates: Mapping[nn.Module, str],
    outputs: set[nn.Module],
    normalizer: Normalizer,
    normalize_output: bool | None,
    *,
    narrow: bool,
) -> dict[nn.Module, Convert]:
    """The layers to convert, each with its conversion."""
    hidden = [layer for layer in candidates if is_dense(layer) and layer not in outputs]
    hidden = hidden[-1:] if narrow and normalizer.last_hidden_only else hidden
    last = [layer for layer in candidates if is_dense(layer) and layer in outputs]
    chosen = dict.fromkeys(hidden, normalizer.hidden)
    chosen |= dict.fromkeys(filter(is_recurrent, candidates), normalizer.recurrent)
    if normalizer.normalize_output if normalize_output is None else normalize_output:
        if last and normalizer.output is None:
            raise ValueError("this normalizer does not apply to output layers: leave out normalize_output=True")
        chosen |= dict.fromkeys(last, normalizer.output)
    return {layer: convert for layer, convert in chosen.items() if convert is not None}


def _check_all_chosen(candidates: Mapping[nn.Module, str], chosen: Mapping[nn.Module, Convert], norm: str) -> None:
    """Refuse a layer that was requested by name and would silently stay plain."""
    for layer, name in candidates.items():
        if layer not in chosen:
            kind = "an output" if is_dense(layer) else "a recurrent"
            choice = "pass normalize_output=True, or " if is_dense(layer) and NORMALIZERS[norm].output else ""
            raise ValueError(f"{norm!r} leaves {_quoted(name)}, {kind} layer, plain: {choice}leave it out of layers")


def _quoted(name: str) -> str:
    return f"layer {name!r}" if name else "the network itself"


def _check_not_tied(network: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    uses = Counter(id(p) for module in network.modules() for p in module._parameters.values() if p is not None)
    for name, layer in layers.items():
        if any(uses[id(p)] > 1 for p in layer.parameters(recurse=False)):
            raise ValueError(
                f"a parameter of layer {name!r} is tied to another module's and would come apart: "
                "share the whole layer instead, or normalize first and tie g, v and bias afterwards"
            )
