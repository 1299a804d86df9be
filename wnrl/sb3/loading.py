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

Layout = list[list[nn.Parameter | None]]  # of each parameter group that was saved, the parameters that they are now


def with_plain_weights(policy: nn.Module, state: Mapping[str, Any], units: str) -> dict[str, Any]:
    """The state dict, with plain weights for the plain layers of `policy` for which it has g and v.

    Args:
        policy: plain or normalized.
        state: for it, or for one with other normalized layers.
        units: of a g for which `state` names none.

    Raises:
        ValueError: a weight in no known form.
    """
    metadata = getattr(state, "_metadata", {})
    converted: Any = OrderedDict(state)
    for name, layer in policy.named_modules(remove_duplicate=False):
        prefix = f"{name}."
        if isinstance(layer, NormalizedLayer) or not weights_in(layer) or f"{prefix}g" not in state:
            continue
        own = {key.removeprefix(prefix): converted.pop(key) for key in state if key.startswith(prefix)}
        problems = convert_plain_entries(layer, own, {"units": units, **metadata.get(name, {})})
        if problems:
            raise ValueError(f"layer {name!r}: {'; '.join(problems)}")
        converted.update({prefix + key: value for key, value in own.items()})
    converted._metadata = metadata
    return converted


def accept_other_states(optimizer: Optimizer, added: set[nn.Parameter], policy_layers: Sequence[nn.Module]) -> None:
    """Let `optimizer.load_state_dict` take states of optimizers for other parameters of the same policy.

    Those are the parameters without g, and those with g of the policy layers too. The state of each parameter that both
    have in one shape is kept, with one warning; other parameters have none, as in a new optimizer.

    Args:
        optimizer: holds the parameters of a normalized policy.
        added: those that the plain policy does not have.
        policy_layers: plain layers that older versions normalized.
    """
    optimizer.register_load_state_dict_pre_hook(lambda _, state: _adapted(state, optimizer, added, policy_layers))


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
