"""State dicts of normalized networks from those of other networks, and the other way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wnrl.weight_norm.normalized_layer import NormalizedLayer, replaced
from wnrl.weight_norm.rows import row_norms
from wnrl.weight_norm.stored_weights import convert_plain_entries, row_dim, units_in
from wnrl.weight_norm.units import Units, check_units, gain_of_g
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer
from wnrl.weight_norm.wrappers import strip_wrappers, unwrapped

Style = Literal["parametrizations", "hook", "plain"]


def convert_state_dict(state: Mapping[str, Any], network: nn.Module, units: Units | None = None) -> dict[str, Any]:
    """The entries of `state` as `network` names and stores them, with the same function.

    `network.load_state_dict` does the same for normalized networks; this is for states whose units it cannot know, and
    for plain networks, whose layers get plain weights. g and v stay as they are where torch's lengths are those of the
    layer's units, up to the units of g.

    Args:
        state: of a network with weights of wnrl (older versions too), of torch's `weight_norm` (hooks or
            parametrizations) or `spectral_norm`, or plain ones; perhaps wrapped by torch.compile or
            DistributedDataParallel when it was saved. It stays as it is.
        network: normalized or plain; it stays as it is.
        units: of g in `state`, where it does not name them; None: those of the layers of `network`.

    Returns:
        A state dict for `network`, with `_metadata`. Entries that `state` lacks are missing here too.

    Raises:
        ValueError: entries that fit nothing, a weight in no known form, or `state` names other units.
    """
    if units is not None:
        check_units(units)
    entries = dict(state)
    metadata = {name: dict(one) for name, one in (getattr(state, "_metadata", None) or {}).items()}
    strip_wrappers(network, entries, "")
    if not {*state} <= {*entries}:
        metadata |= {unwrapped(name): one | metadata.get(unwrapped(name), {}) for name, one in metadata.items()}
    problems: list[str] = []
    for name, module in network.named_modules(remove_duplicate=False):
        prefix, about = f"{name}." if name else "", metadata.setdefault(name, {})
        own = {key[len(prefix) :]: entries.pop(key) for key in list(entries) if key.startswith(prefix)}
        said = about if units is None else _with_units(about, units, module, name)
        if isinstance(module, NormalizedLayer):
            lines = module.convert_entries(own, said)
        else:
            lines = convert_plain_entries(module, own, said)
        if isinstance(module, _BatchNorm) and "num_batches_tracked" not in module.state_dict():
            own.pop("num_batches_tracked", None)
        entries |= {prefix + key: value for key, value in own.items()}
        problems += [f"layer {name!r}: {line}" for line in lines]
        _name_units(about, module)
    known = {*network.state_dict()}
    if strange := [key for key in entries if key not in known]:
        problems.append(f"{', '.join(strange[:5])} fit nothing in {type(network).__name__}")
    if problems:
        raise ValueError("; ".join(problems))
    converted: Any = OrderedDict(entries)
    converted._metadata = OrderedDict(metadata)
    return converted


def _with_units(about: Mapping[str, Any], units: str, module: nn.Module, name: str) -> dict[str, Any]:
    if units_in(about) not in (None, units):
        raise ValueError(f"the state names other units for layer {name!r}, {about['units']!r}: leave out units=")
    ballast = module._ballast if isinstance(module, WeightNormLayer) else 0.0
    return {"ballast": ballast, **about, "units": units} if "units" not in about else dict(about)


def _name_units(about: dict[str, Any], module: nn.Module) -> None:
    for key in ("units", "ballast"):
        about.pop(key, None)
    if isinstance(module, WeightNormLayer):
        about["units"] = module.units
        if module._ballast:
            about["ballast"] = module._ballast


@torch.no_grad()
def torch_state_dict(network: nn.Module, style: Style = "parametrizations") -> dict[str, Tensor]:
    """The state dict of the network that torch would have without wnrl, with the same function in evaluation mode.

    Args:
        network: any network.
        style: how weight-normalized layers store their weights: as those of torch's `parametrizations.weight_norm`
            ("parametrizations") or `weight_norm` ("hook"), along the dimension of their units, which is dim=1 for
            transposed convolutions, else dim=0; or plain, as those of `wnrl.fold`. A mean-only batch normalization is
            folded into the bias.

    Returns:
        Detached tensors by name, and extra states of subclasses.

    Raises:
        ValueError: an unknown style, or a layer that cannot be stored so.
    """
    if style not in get_args(Style):
        raise ValueError(f"style must be one of {get_args(Style)}, got {style!r}")
    state: Any = OrderedDict()
    for prefix, module in _walk(network):
        if isinstance(module, NormalizedLayer):
            values = _torch_entries(module, style, f"layer {prefix[:-1]!r}" if prefix else "the network itself")
            state.update({prefix + name: value.detach() for name, value in values.items()})
            if type(module).get_extra_state is not nn.Module.get_extra_state:
                state[f"{prefix}_extra_state"] = module.get_extra_state()
        else:
            module._save_to_state_dict(state, prefix, False)
    state._metadata = OrderedDict({prefix[:-1]: {"version": module._version} for prefix, module in _walk(network)})
    return state


def _walk(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Modules and the prefixes of their entries, without those that belong to normalizers, or compute g or v."""
    yield prefix, module
    lost = (*module.own_parts, "parametrizations") if isinstance(module, NormalizedLayer) else ()
    for name, child in module._modules.items():
        if child is not None and name not in lost:
            yield from _walk(child, f"{prefix}{name}.")


def _torch_entries(layer: NormalizedLayer, style: Style, label: str) -> dict[str, Tensor]:
    """The entries of the layer itself in this style."""
    kind = type(layer).__name__
    if not layer.can_be_folded:
        raise ValueError(f"{label} is a {kind}: no layer of torch has its function")
    if style != "plain" and not isinstance(layer, WeightNormLayer):
        raise ValueError(f'{label} is a {kind}, which is not weight normalization: style="plain" folds it')
    values = layer.folded()
    kept = [name for name in layer._buffers if name not in layer._non_persistent_buffers_set]
    values |= {name: layer._buffers[name] for name in kept if name not in layer.own_buffers()}  # type: ignore[misc]
    if isinstance(layer, WeightNormLayer) and style != "plain":
        for name in layer.weight_names:
            v, g = _torch_pair(layer, name, label)
            inside = f"parametrizations.{name}.original"
            names = (f"{inside}0", f"{inside}1") if style == "parametrizations" else (f"{name}_g", f"{name}_v")
            values = replaced(values, name, zip(names, (g, v), strict=True))
    return values


def _torch_pair(layer: WeightNormLayer, name: str, label: str) -> tuple[Tensor, Tensor]:
    """v, and g in the paper's units, of the shape that torch gives it."""
    dim = row_dim(layer)
    if dim == 1 and layer.groups != 1:
        raise ValueError(f"{label} is a grouped transposed convolution, whose rows torch's weight_norm cannot have")
    v, g = (tensor.detach() for tensor in layer.pair(name))
    norm, scale = row_norms(layer, v), layer._scales[name]
    if not bool((norm > 0).all()):  # torch would divide by it
        v, g = layer._decomposed(layer.effective_weight(name), "paper", 1.0, 0.0)
    elif layer.units != "paper" or layer._ballast:
        lengths = scale * gain_of_g(g.to(norm.dtype), layer.units)
        if layer._ballast:
            lengths = lengths * norm / torch.hypot(norm, norm.new_tensor(layer._ballast))
        g = lengths.to(g.dtype)
    return v, g.view([-1 if d == dim else 1 for d in range(v.ndim)])
