"""What was done to each layer of a network, as rows of a table, and why the plain ones were left so."""

from __future__ import annotations

import copy
import math
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from wnrl.normalizers.batch_norm import BatchNormalized, MeanBatchNormalized
from wnrl.normalizers.layer_kinds import (
    is_dense,
    is_embedding,
    is_recurrent,
    is_without_weight,
    output_modules,
    weight_norm_kind,
)
from wnrl.normalizers.layer_norm import ChannelLayerNormalized, LayerNormalized
from wnrl.normalizers.projection import ProjectedBeforeBatchNorm, ProjectedLayer, RadiusProjected, WeightClipped
from wnrl.normalizers.spectral_norm import SpectralNormalized
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.rows import row_norms
from wnrl.weight_norm.stored_weights import weights_in
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

WIDTH = 100  # columns of the printed table
KIND_WIDTH = 18  # of them for the class; longer names are cut

_NORMALIZERS: dict[str, type[NormalizedLayer]] = {  # the first that fits
    "mean-batch": MeanBatchNormalized,
    "batch+projected": ProjectedBeforeBatchNorm,
    "batch": BatchNormalized,
    "layer+projected": RadiusProjected,
    "layer-channels": ChannelLayerNormalized,
    "layer": LayerNormalized,
    "projected": ProjectedLayer,
    "spectral": SpectralNormalized,
    "weight-clip": WeightClipped,
    "weight": WeightNormLayer,
}
_NORMS = (nn.LayerNorm, nn.RMSNorm)  # whose weights may have several dimensions

_reasons: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()  # of plain layers, which are not to be changed


class LayerDescription(NamedTuple):
    """One weight of a network. Lengths are those of the rows of the effective weight, which `fold` has; NaN if none."""

    name: str
    """The layer's, as in `named_modules`; for several weights in a layer, with the weight's: `lstm.weight_ih_l0`."""
    kind: str
    """The layer's class without its normalizer."""
    normalizer: str
    """As in `NORMALIZERS`: what the layer itself has, such as `weight` for the output layers of `mean-batch`."""
    units: str
    """Of g; empty for layers without g."""
    ballast: float
    rows: int
    shortest: float
    mean: float
    longest: float
    zero_rows: int
    tied_to: tuple[str, ...]
    """Other names of this weight: of other layers with the same parameter, or of the same layer in another place."""
    reason: str
    """Why the layer was left plain; empty for normalized layers, and where nothing is known."""


@dataclass(frozen=True, repr=False)
class Description:
    """The weights of a network in order of registration; printed as a table."""

    layers: list[LayerDescription]

    def __repr__(self) -> str:
        """A table of at most 100 columns; below it why layers are plain, which are tied, and which rows are zero."""
        return "\n".join((*_table(self.layers), *_left_plain(self.layers), *_tied(self.layers), *_zero(self.layers)))


def describe(network: nn.Module) -> Description:
    """What `normalize` did to each layer with weights of `network`, and the lengths of its rows.

    Nothing is changed or called. The reasons why layers were left plain are those of the last `normalize` that left
    them; in copies and unpickled networks they are inferred from the structure.

    Args:
        network: any module, also a single layer, normalized or plain.

    Returns:
        Data, a row for each weight, which prints as a table.
    """
    return describe_layers(network, lambda layer: True)


@torch.no_grad()
def describe_layers(network: nn.Module, included: Callable[[nn.Module], bool]) -> Description:
    """As `describe`, of the included layers alone."""
    names = _all_names(network)
    weights = [(layer, weight) for layer in names for weight in _weight_names(layer)]
    holders = [_holder(layer, weight) for layer, weight in weights]
    places: dict[Any, list[str]] = {}  # all names of a weight, by its parameter
    for (layer, weight), holder in zip(weights, holders, strict=True):
        own = [_joined(name, weight) for name in names[layer]]
        places.setdefault((layer, weight) if holder is None else holder, []).extend(own)
    inferred = _Structure(network)
    described = []
    for (layer, weight), holder in zip(weights, holders, strict=True):
        if included(layer):
            name = _joined(names[layer][0], weight)
            same = places[(layer, weight) if holder is None else holder]
            tied_to = tuple(other for other in same if other != name)
            described.append(_described(layer, name, weight, tied_to, inferred.reason(layer, bool(tied_to))))
    return Description(described)


def remember_reasons(network: nn.Module, reasons: Mapping[nn.Module, str], left_out: Collection[nn.Module]) -> None:
    """Keep, for `describe`, why layers of `network` stay plain; earlier reasons are forgotten.

    Args:
        network: all of its layers are concerned.
        reasons: of layers that the normalizer leaves plain; what follows a colon is advice, and is left out.
        left_out: layers that `layers=` did not choose.
    """
    for module in network.modules():
        reason = reasons.get(module, "left out by layers=" if module in left_out else "").partition(": ")[0]
        if reason and not isinstance(module, NormalizedLayer):
            _reasons[module] = reason
        else:
            _reasons.pop(module, None)


class _Structure:
    """What the structure of a network suggests as reasons."""

    def __init__(self, network: nn.Module) -> None:
        self._outputs = output_modules(network)
        self._is_normalized = any(isinstance(module, NormalizedLayer) for module in network.modules())

    def reason(self, layer: nn.Module, is_tied: bool) -> str:
        """Why `layer` is plain; empty if it is not, or if nobody knows."""
        if isinstance(layer, NormalizedLayer):
            return ""
        if isinstance(layer, LazyModuleMixin) and is_without_weight(layer):
            return "it has no shape yet"
        if is_without_weight(layer):
            return "its weight is parametrized or pruned"
        if not (is_dense(layer) or is_recurrent(layer) or is_embedding(layer)):
            return "not a layer that can be normalized"
        return _reasons.get(layer) or self._inferred(layer, is_tied)

    def _inferred(self, layer: nn.Module, is_tied: bool) -> str:
        if is_embedding(layer):
            return "an embedding: only by layers="
        if not self._is_normalized:
            return ""
        if is_tied:
            return "its weight is tied"
        if layer in self._outputs:
            return "an output layer"
        return "a recurrent layer or attention" if is_recurrent(layer) else ""


def _all_names(network: nn.Module) -> dict[nn.Module, list[str]]:
    names: dict[nn.Module, list[str]] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    return names


def _joined(layer: str, weight: str) -> str:
    return layer if weight == "weight" else f"{layer}.{weight}".removeprefix(".")


def _weight_names(layer: nn.Module) -> tuple[str, ...]:
    """The names of the weights of a layer, by the plain layer's names; none for other modules."""
    if isinstance(layer, WeightNormLayer):
        return layer.weight_names
    if is_dense(layer) or is_recurrent(layer) or is_embedding(layer) or is_without_weight(layer):
        return weight_norm_kind(layer).names_in(layer)
    return () if isinstance(layer, _NORMS) else weights_in(layer)


def _holder(layer: nn.Module, weight: str) -> tuple[int, ...] | None:
    """The identity of the parameters that may be tied; None if the weight is computed in other ways."""
    if isinstance(layer, WeightNormLayer) and weight in layer.weight_names:
        return tuple(map(id, layer.pair(weight)))
    own = layer.holders() if isinstance(layer, NormalizedLayer) else layer._parameters
    parameter = own.get(weight)
    return None if parameter is None else (id(parameter),)


def _described(layer: nn.Module, name: str, weight: str, tied_to: tuple[str, ...], reason: str) -> LayerDescription:
    lengths = _lengths(layer, weight)
    known = lengths or [math.nan]
    has_g = isinstance(layer, WeightNormLayer)
    return LayerDescription(
        name=name,
        kind=_plain_class(layer).__name__,
        normalizer=_normalizer(layer),
        units=cast(str, layer.units) if has_g else "",
        ballast=cast(float, layer._ballast) if has_g else 0.0,
        rows=len(lengths),
        shortest=min(known),
        mean=sum(known) / len(known),
        longest=max(known),
        zero_rows=lengths.count(0.0),
        tied_to=tied_to,
        reason=reason,
    )


def _plain_class(layer: nn.Module) -> type:
    return layer.plain_class if isinstance(layer, NormalizedLayer) else type_before_parametrizations(layer)


def _normalizer(layer: nn.Module) -> str:
    if not isinstance(layer, NormalizedLayer):
        return "none"
    return next((name for name, kind in _NORMALIZERS.items() if isinstance(layer, kind)), type(layer).__name__)


def _lengths(layer: nn.Module, name: str) -> list[float]:
    """The lengths of the rows of a layer's effective weight; NaN without values, as on the meta device."""
    if is_parametrized(layer):
        layer = copy.deepcopy(layer).eval()  # to read a parametrized weight may change a state
    weight = layer.folded().get(name) if isinstance(layer, NormalizedLayer) else None
    weight = cast(Tensor, getattr(layer, name) if weight is None else weight)
    if isinstance(weight, nn.UninitializedParameter):
        return []
    norms = row_norms(layer, weight.detach())
    return [math.nan] * len(norms) if norms.is_meta else norms.tolist()


def _table(layers: Iterable[LayerDescription]) -> Iterator[str]:
    """The lines of the table; names that are too long for it have a line of their own."""
    header = ("layer", "kind", "norm", "units", "rows", "shortest", "mean", "longest")
    lines = [header, *(_cells(layer) for layer in layers)]
    columns = [column for column in range(1, len(header)) if any(line[column] for line in lines[1:])]
    widths = {column: max(len(line[column]) for line in lines) for column in columns}
    rest = sum(widths.values()) + 2 * len(columns)
    longest = max(len(line[0]) for line in lines)
    fitting = [len(line[0]) for line in lines if len(line[0]) <= WIDTH - rest]
    first = longest if longest + rest <= WIDTH else max(fitting, default=0)
    for line in lines:
        cells = [line[c].ljust(widths[c]) if c < header.index("rows") else line[c].rjust(widths[c]) for c in columns]
        alone = len(line[0]) > first
        if alone:
            yield line[0]
        yield "  ".join(["".ljust(first) if alone else line[0].ljust(first), *cells]).rstrip()


def _cells(layer: LayerDescription) -> tuple[str, ...]:
    lengths = (layer.shortest, layer.mean, layer.longest)
    numbers = ("-" if math.isnan(length) else f"{length:.4g}" for length in lengths)
    units = f"{layer.units}, ballast {layer.ballast:g}" if layer.ballast else layer.units
    kind = layer.kind if len(layer.kind) <= KIND_WIDTH else f"{layer.kind[: KIND_WIDTH - 2]}.."
    return (_shown(layer), kind, layer.normalizer, units, str(layer.rows), *numbers)


def _shown(layer: LayerDescription) -> str:
    return layer.name or "(itself)"


def _wrapped(text: str, indent: str = "") -> str:
    lines = textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_long_words=False)
    return "\n".join(lines)


def _left_plain(layers: Iterable[LayerDescription]) -> Iterator[str]:
    by_reason: dict[str, list[str]] = {}
    for layer in layers:
        if layer.reason:
            by_reason.setdefault(layer.reason, []).append(_shown(layer))
    if by_reason:
        yield "left plain:"
        yield from (_wrapped(f"{', '.join(names)} ({reason})", "  ") for reason, names in by_reason.items())


def _tied(layers: Iterable[LayerDescription]) -> Iterator[str]:
    seen: set[str] = set()
    for layer in layers:
        if layer.tied_to and layer.name not in seen:
            seen |= {layer.name, *layer.tied_to}
            names = " = ".join(name or "(itself)" for name in (layer.name, *layer.tied_to))
            yield _wrapped(f"tied: {names} (one {'v and one g' if layer.units else 'weight'})")


def _zero(layers: Iterable[LayerDescription]) -> Iterator[str]:
    zero = [layer for layer in layers if layer.zero_rows]
    if zero:
        names = ", ".join(f"{_shown(layer)} ({layer.zero_rows} of {layer.rows})" for layer in zero)
        by_g = any(layer.units and not layer.ballast for layer in zero)
        why = "; weight normalization gives them g = 0 and the direction of ones" if by_g else ""
        yield _wrapped(f"rows of zeros: {names}{why}")
