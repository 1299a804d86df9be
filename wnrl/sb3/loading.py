"""States of other models in normalized policies: of plain ones, and of those that older versions saved."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.stored_weights import convert_plain_entries, weights_in
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

Layout = list[list[nn.Parameter | None]]  # of each parameter group that was saved, the parameters that they are now


def with_own_layout(policy: nn.Module, state: Mapping[str, Any], units: str) -> dict[str, Any]:
    """The state dict, with plain weights where a layer of `policy` is plain, and with the units of each g.

    Args:
        policy: plain or normalized.
        state: for it, or for one with other normalized layers. Without metadata, as in a `dict` of a state dict, each g
            of a normalized layer is taken in the layer's own units.
        units: of a g for which the metadata names none, and of a g that becomes plain.

    Raises:
        ValueError: a weight in no known form.
    """
    metadata = getattr(state, "_metadata", None)
    named = {} if metadata is None else dict(metadata)
    converted: Any = OrderedDict(state)
    for name, layer in policy.named_modules(remove_duplicate=False):
        prefix, about = f"{name}.", {"units": units, **named.get(name, {})}
        if isinstance(layer, WeightNormLayer):
            named[name] = about
        elif not isinstance(layer, NormalizedLayer) and weights_in(layer) and f"{prefix}g" in state:
            own = {key.removeprefix(prefix): converted.pop(key) for key in state if key.startswith(prefix)}
            if problems := convert_plain_entries(layer, own, about):
                raise ValueError(f"layer {name!r}: {'; '.join(problems)}")
            converted.update({prefix + key: value for key, value in own.items()})
    if metadata is not None:
        converted._metadata = named
    return converted


def accept_other_states(optimizer: Optimizer, added: set[nn.Parameter], policy_layers: Sequence[nn.Module]) -> None:
    """Let `optimizer.load_state_dict` take states of optimizers for other parameters of the same policy.

    Those are the parameters without g, and those with g of the policy layers too. The state of each parameter that both
    have in one shape is kept, with one warning; other parameters have none, as in a new optimizer.

    Args:
        optimizer: holds the parameters of a normalized policy; one that takes such states already stays as it is.
        added: those that the plain policy does not have.
        policy_layers: plain layers that older versions normalized.
    """
    if "_wnrl_adapts" not in vars(optimizer):
        optimizer.register_load_state_dict_pre_hook(lambda _, state: _adapted(state, optimizer, added, policy_layers))
        optimizer._wnrl_adapts = True  # type: ignore[attr-defined]


def _adapted(
    state: dict[str, Any], optimizer: Optimizer, added: set[nn.Parameter], policy_layers: Sequence[nn.Module]
) -> dict[str, Any] | None:
    """The state for the parameters of `optimizer`; None: as it is."""
    own = [group["params"] for group in optimizer.param_groups]
    saved = [group["params"] for group in state["param_groups"]]
    sizes = [len(group) for group in saved]
    if sizes == [len(group) for group in own]:
        return None
    weights = {layer._parameters[name] for layer in policy_layers for name in weights_in(layer)}
    plain: Layout = [[parameter for parameter in group if parameter not in added] for group in own]
    older: Layout = [[one for v in group for one in ((None, v) if v in weights else (v,))] for group in own]
    layouts = (plain, older)
    layout = next((one for one in layouts if sizes == [len(group) for group in one]), None)
    if layout is None:  # torch refuses it
        return None
    places = {parameter: i for i, parameter in enumerate(p for group in own for p in group)}
    found = {
        index: parameter
        for group, indices in zip(layout, saved, strict=True)
        for parameter, index in zip(group, indices, strict=True)
    }
    kept = {
        places[parameter]: state["state"][index]
        for index, parameter in found.items()
        if parameter is not None and index in state["state"] and _fits(state["state"][index], parameter)
    }
    if state["state"]:
        warnings.warn(
            f"the optimizer's state is that of a model with other parameters: {len(kept)} of the {len(places)} here "
            "keep theirs, the others start without",
            stacklevel=3,
        )
    saved_groups = zip(state["param_groups"], own, strict=True)
    groups = [
        {**group, "params": [places[parameter] for parameter in parameters]} for group, parameters in saved_groups
    ]
    return {**state, "state": kept, "param_groups": groups}


def _fits(state: Mapping[str, Any], parameter: nn.Parameter) -> bool:
    """Whether what an optimizer keeps for a parameter has the parameter's shape."""
    return all(x.shape == parameter.shape for x in state.values() if isinstance(x, Tensor) and x.ndim > 0)
