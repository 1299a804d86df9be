"""How a layer's weight is stored in a state dict: plain, as g and v (ours or torch's), or spectrally normalized.

torch's hooks store `weight_g` and `weight_v`, its parametrizations `parametrizations.weight.original0` and `original1`.
There, g has the number of dimensions of v and may lie along any of them, or is one number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvTransposeNd

from wnrl.weight_norm.formula import effective_weight
from wnrl.weight_norm.rows import has_own_forward, row_norms, rows
from wnrl.weight_norm.units import check_units, g_of_lengths, gain_of_g, unit_scale
from wnrl.weight_norm.wrappers import strip_wrappers

Entries = dict[str, Any]  # of one layer and its parts in a state dict, by the names within the layer


class Pair(NamedTuple):
    """Directions and lengths of a weight, as torch's weight norm stores them."""

    v: Tensor
    g: Tensor


class OwnPair(NamedTuple):
    """Directions and lengths of a weight, as a weight-normalized layer of ours stores them."""

    v: Tensor
    g: Tensor  # [out]
    units: str
    ballast: float


class Spectral(NamedTuple):
    """A weight that is divided by its largest singular value σ; its singular vectors, v = None: that of Wᵀu."""

    weight: Tensor
    u: Tensor
    v: Tensor | None


Stored = Tensor | Pair | OwnPair | Spectral


def letter(which: str, weight: str) -> str:
    """The name of g or v of a weight: `g_ih_l0` of "g" and "weight_ih_l0"."""
    return weight.replace("weight", which)


def weights_in(layer: nn.Module) -> tuple[str, ...]:
    """The names of the parameters of a layer that are its weights."""
    own = {name: p for name, p in layer._parameters.items() if not (p is None or torch.nn.parameter.is_lazy(p))}
    return tuple(name for name, parameter in own.items() if "weight" in name and parameter.ndim > 1)


def row_dim(layer: nn.Module) -> int:
    """The dimension of a layer's units in its weight."""
    return 1 if isinstance(layer, _ConvTransposeNd) else 0


def has_rows_along(layer: nn.Module, dim: int | None) -> bool:
    """Whether lengths along this dimension of a layer's weight are those of its units."""
    return dim == row_dim(layer) and not (dim == 1 and layer.groups != 1)


def lengths_dim(layer: nn.Module, v: Tensor, g: Tensor) -> int | None:
    """The dimension of v along which torch's g lies; None: one length for all of v.

    Raises:
        ValueError: it lies along none.
    """
    if g.ndim == 0:
        return None
    first = row_dim(layer)
    shapes = {dim: [size if d == dim else 1 for d, size in enumerate(v.shape)] for dim in range(v.ndim)}
    dims = [dim for dim, shape in shapes.items() if shape == [*g.shape]]
    if g.ndim == 1 and v.ndim > 1 and len(g) == v.shape[first]:
        dims = [first]
    if not dims:
        raise ValueError(f"its lengths have shape {[*g.shape]}, which does not fit directions of shape {[*v.shape]}")
    return first if first in dims else dims[0]


@torch.no_grad()
def formed(layer: nn.Module, stored: Stored) -> Tensor:
    """The weight itself, of the shape of the plain layer's; what was computed is at least in float32.

    Raises:
        ValueError: lengths or singular vectors of shapes that do not fit.
    """
    if isinstance(stored, Tensor):
        return stored
    if isinstance(stored, Spectral):
        return stored.weight / sigma(layer, stored)
    v, g = (tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in stored[:2])
    if isinstance(stored, OwnPair):
        by_row = rows(layer, v)
        scale, gain = unit_scale(by_row, stored.units), gain_of_g(g, stored.units)
        return rows(layer, effective_weight(by_row, gain, scale, ballast=stored.ballast))
    dim = lengths_dim(layer, v, g)
    if dim is None:
        return v * (g / torch.linalg.vector_norm(v))
    return effective_weight(v, g.flatten(), dim=dim)


@torch.no_grad()
def sigma(layer: nn.Module, stored: Spectral) -> Tensor:
    """The largest singular value, 0-dim, as the stored singular vectors estimate it."""
    wide = torch.promote_types(stored.weight.dtype, torch.float32)
    weight, u = stored.weight.to(wide), stored.u.to(wide)
    if stored.v is None:
        found = torch.linalg.vector_norm(rows(layer, weight).flatten(1).t() @ F.normalize(u, dim=0))
        return torch.where(found > 0, found, 1.0)
    matrix = weight.movedim(row_dim(layer), 0).flatten(1)
    if matrix.shape != (len(u), len(stored.v)):
        raise ValueError("it is spectrally normalized along another dimension: remove that parametrization first")
    return torch.dot(u, matrix @ stored.v.to(wide))


@torch.no_grad()
def kept_pair(layer: nn.Module, stored: Pair | OwnPair, units: str, ballast: float) -> tuple[Tensor, Tensor] | None:
    """The v that is stored, and g `[out]` for it in these units and with this ballast; None if v would have to change.

    Raises:
        ValueError: a zero row in "log" units, or lengths of a shape that does not fit.
    """
    v, g, stored_units, stored_ballast = stored if isinstance(stored, OwnPair) else (*stored, "paper", 0.0)
    if isinstance(stored, Pair) and not has_rows_along(layer, lengths_dim(layer, v, g)):
        return None
    g, norm = g.detach().flatten(), row_norms(layer, v)
    if (units, ballast) == (stored_units, stored_ballast) or g.shape != norm.shape:
        return v, g  # of another shape: torch reports it
    by_row = rows(layer, v)
    wide = torch.promote_types(g.dtype, torch.float32)
    lengths = unit_scale(by_row, stored_units) * gain_of_g(g.to(wide), stored_units)
    if ballast != stored_ballast:
        if not bool((norm > 0).all()):
            return None
        factor = torch.hypot(norm, norm.new_tensor(ballast)) / torch.hypot(norm, norm.new_tensor(stored_ballast))
        lengths = lengths * factor
    if units == "log" and bool((lengths < 0).any()):
        return None
    return v, g_of_lengths(lengths, units, unit_scale(by_row, units))


def units_in(metadata: Mapping[str, Any]) -> str | None:
    """The units of g that a state dict names for a layer.

    Raises:
        ValueError: unknown units.
    """
    units = metadata.get("units")
    if units is not None:
        check_units(units)
    return units


def take(entries: Entries, name: str, own: tuple[str, ...], metadata: Mapping[str, Any]) -> Stored | None:
    """Take the weight `name` out of `entries`; None if it is not there, or under its own names already.

    Args:
        entries: of the layer.
        name: of the plain layer's weight.
        own: the names under which the layer stores it.
        metadata: the state dict's, of this layer.

    Raises:
        ValueError: g in units that the state dict does not name.
    """
    inside = f"parametrizations.{name}."
    g, v = letter("g", name), letter("v", name)
    spectral = (
        (f"{name}_orig", f"{name}_u", f"{name}_v"),
        (f"{inside}original", f"{inside}0._u", f"{inside}0._v"),
        *(() if f"{name}_orig" in own else ((f"{name}_orig", "running_u"),)),
    )
    for keys in spectral:
        if _are_in(entries, keys):
            return Spectral(*(*(entries.pop(key) for key in keys), None)[:3])
    if _are_in(entries, own):
        return None
    for keys in ((f"{name}_v", f"{name}_g"), (f"{inside}original1", f"{inside}original0")):
        if _are_in(entries, keys):
            return Pair(*(entries.pop(key) for key in keys))
    if isinstance(entries.get(name), Tensor):
        return entries.pop(name)
    if _are_in(entries, (v, g)) and not {v, g} & {*own}:
        units = units_in(metadata)
        if units is None:
            raise ValueError(
                "the units of its g are not named (safetensors and dict() drop them): wnrl.convert_state_dict(state, "
                'network, units=…) with those in which it was trained, "paper" by default'
            )
        return OwnPair(entries.pop(v), entries.pop(g), units, metadata.get("ballast", 0.0))
    return None


def _are_in(entries: Entries, keys: tuple[str, ...]) -> bool:
    return bool(keys) and all(isinstance(entries.get(key), Tensor) for key in keys)


def convert_plain_entries(layer: nn.Module, entries: Entries, metadata: Mapping[str, Any]) -> list[str]:
    """Convert the entries of a plain layer, in place: however its weights are stored, they become plain ones.

    Returns:
        What could not be converted, a line each.
    """
    clean(layer, entries)
    problems = []
    for name in weights_in(layer):
        try:
            stored = take(entries, name, (name,), metadata)
            if stored is not None:
                entries[name] = formed(layer, stored)
        except ValueError as error:
            problems.append(f"the {name} cannot be converted: {error}")
    mean_only = {"norm.running_mean", "norm.bias"}
    if {key for key in entries if key.startswith("norm.")} == mean_only and "norm" not in layer._modules:
        if has_own_forward(type(layer)):
            return [
                *problems,
                f"a {type(layer).__name__} has a forward pass of its own, into which no mean can be folded",
            ]
        entries["bias"] = entries.pop("norm.bias") - entries.pop("norm.running_mean")
    return problems


def clean(layer: nn.Module, entries: Entries) -> None:
    """Remove wrappers' names, and those of older versions of wnrl: `layer.weight` for `weight`."""
    strip_wrappers(layer, entries, "")
    if "layer" not in layer._modules:
        for key in [key for key in entries if key.startswith("layer.")]:
            if key.removeprefix("layer.") not in entries:
                entries[key.removeprefix("layer.")] = entries.pop(key)
