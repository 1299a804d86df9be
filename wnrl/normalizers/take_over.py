"""Layers that torch's own `weight_norm` wraps, by its hooks or its parametrizations, taken over by ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.weight_norm import WeightNorm

from wnrl.normalizers.layer_kinds import (
    EMBEDDING_WEIGHT_NORM_LAYERS,
    RECURRENT_WEIGHT_NORM_LAYERS,
    WEIGHT_NORM_LAYERS,
    weight_norm_kind,
)
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.stored_weights import Pair, formed, kept_pair

_KINDS = (*WEIGHT_NORM_LAYERS, *RECURRENT_WEIGHT_NORM_LAYERS, *EMBEDDING_WEIGHT_NORM_LAYERS)


class _Weight(NamedTuple):
    v: nn.Parameter
    g: nn.Parameter
    dim: int


class TorchWeightNorm:
    """A layer with weights that torch's `weight_norm` computes; it can be made plain, and be restored."""

    def __init__(self, layer: nn.Module, weights: dict[str, _Weight]) -> None:
        self._layer, self._weights = layer, weights
        self._before: tuple[type[nn.Module], dict[str, Any], dict[str, dict[Any, Any]]] | None = None
        self._written: list[tuple[Tensor, Tensor]] = []  # v, and its values before

    def unwrap(self) -> None:
        """Remove hooks and parametrizations, and make v the weight; g is left out."""
        layer, weights = self._layer, self._weights
        tables = {name: dict(value) for name, value in vars(layer).items() if isinstance(value, dict)}
        self._before = type(layer), dict(vars(layer)), tables
        for key, hook in list(layer._forward_pre_hooks.items()):
            if isinstance(hook, WeightNorm):
                del layer._forward_pre_hooks[key]
                del vars(layer)[hook.name]
        if is_parametrized(layer):
            del layer._modules["parametrizations"]
            layer.__class__ = type(layer).__bases__[0]
            for key, hook in list(layer._load_state_dict_pre_hooks.items()):
                if getattr(hook, "__name__", "") == "_weight_norm_compat_hook":
                    del layer._load_state_dict_pre_hooks[key]
        lost = {f"{name}_{which}" for name in weights for which in "gv"}
        parameters: dict[str, nn.Parameter | None] = {name: weight.v for name, weight in weights.items()}
        parameters |= {name: one for name, one in layer._parameters.items() if name not in lost}
        first = vars(layer).get("_flat_weights_names", weight_norm_kind(layer).weight_names)
        order = {name: index for index, name in enumerate(first)}
        names = sorted(parameters, key=lambda name: order.get(name, -1 if "weight" in name else len(order)))
        layer._parameters.clear()
        layer._parameters.update({name: parameters[name] for name in names})

    def rewrap(self) -> None:
        """Restore everything as it was before `unwrap`."""
        if self._before is None:
            return
        kind, attributes, tables = self._before
        self._layer.__class__ = kind
        vars(self._layer).clear()
        vars(self._layer).update(attributes)
        for name, table in tables.items():
            vars(self._layer)[name].clear()
            vars(self._layer)[name].update(table)
        with torch.no_grad():
            for v, values in self._written:
                v.copy_(values)

    @torch.no_grad()
    def hand_over(self, lengths: dict[nn.Parameter, nn.Parameter], units: str, ballast: float) -> None:
        """Add the g of each v to `lengths`; where torch's lengths are not those of the layer's units, v becomes w.

        Raises:
            ValueError: one length for a whole weight, or a zero row in "log" units.
        """
        for name, (v, g, dim) in self._weights.items():
            if dim < 0:
                raise ValueError(f"torch's weight_norm gives its {name} one length (dim=None): remove that first")
            stored = Pair(v.detach(), g.detach())
            kept = kept_pair(self._layer, stored, units, ballast)
            if kept is not None:
                lengths[v] = nn.Parameter(kept[1].to(g.dtype, copy=True), g.requires_grad)
            else:
                self._written.append((v, v.detach().clone()))
                v.copy_(formed(self._layer, stored))

    def check_not_tied(self, modules: Iterable[nn.Module], wrapped: Mapping[nn.Module, TorchWeightNorm]) -> None:
        """Raise ValueError if another module has one of the directions v, but other lengths g."""
        pairs = {weight.v: weight.g for weight in self._weights.values()}
        for module in modules:
            others = wrapped[module]._weights if module in wrapped else {}
            for name, parameter in module._parameters.items():
                if parameter in pairs and not (name in others and others[name].g is pairs[parameter]):
                    raise ValueError(
                        f"its v is also the {name} of another module, with other lengths: untie them first"
                    )


def torch_weight_norms(network: nn.Module) -> dict[nn.Module, TorchWeightNorm]:
    """The layers of `network` that could be normalized, were they not wrapped by torch's `weight_norm` alone."""
    found = {}
    for layer in network.modules():
        if isinstance(layer, _KINDS) and not isinstance(layer, NormalizedLayer):
            weights = {**_hooked(layer), **_parametrized(layer)}
            other = is_parametrized(layer) and not {*layer.parametrizations} <= {*weights}  # type: ignore[misc]
            if weights and not other and all("weight" in name and one.v.ndim > 1 for name, one in weights.items()):
                found[layer] = TorchWeightNorm(layer, weights)
    return found


@contextmanager
def made_plain(wrapped: Mapping[nn.Module, TorchWeightNorm]) -> Iterator[None]:
    """Meanwhile these layers are plain, with weight v; those that are not normalized in the end are restored."""
    try:
        for one in wrapped.values():
            one.unwrap()
        yield
    finally:
        for layer, one in wrapped.items():
            if not isinstance(layer, NormalizedLayer):
                one.rewrap()


def _hooked(layer: nn.Module) -> dict[str, _Weight]:
    found = {}
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            v, g = (layer._parameters.get(f"{hook.name}_{which}") for which in "vg")
            if v is not None and g is not None:  # not pruned
                found[hook.name] = _Weight(v, g, hook.dim)
    return found


def _parametrized(layer: nn.Module) -> dict[str, _Weight]:
    found = {}
    parametrizations: Any = layer.parametrizations if is_parametrized(layer) else {}
    for name, steps in parametrizations.items():
        own = steps._parameters
        if len(steps) == 1 and type(steps[0]) is _WeightNorm and {"original0", "original1"} <= {*own}:
            found[name] = _Weight(own["original1"], own["original0"], steps[0].dim)
    return found
