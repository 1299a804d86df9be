"""Parameter groups for optimizers with weight decay: the lengths g of rows decay, their directions v do not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from wnrl.normalizers.projection import Projection, WeightClipped
from wnrl.weight_norm.stored_weights import letter
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def parameter_groups(network: nn.Module, weight_decay: float, **options: Any) -> list[dict[str, Any]]:
    """All parameters of `network` in two groups for an optimizer, with weight decay and without.

    w = s·g·v/‖v‖ does not depend on ‖v‖, but its effective learning rate does (Salimans & Kingma 2016, section 2.1):
    decay of v would regularize nothing, and only raise that rate (van Laarhoven 2017, "L2 regularization versus batch
    and weight normalization"). What shrinks the rows, as decay of w does, is decay of g.

    - Decoupled decay λ of g (AdamW) at learning rate η: rows shrink by the factor 1 − ηλ a step, as those of w.
    - L2 (SGD, Adam): ½λg² is added to the loss; in `paper` units (s = 1) that is ½λ‖w‖², as for w; in `sqrt` units
      (s = √n, n inputs a row) ½(λ/n)‖w‖²: weaker, λn would be as for w.

    So λ means what it means for w in `paper` units, and with AdamW in `sqrt` units too. In `log` units decay of g would
    pull the lengths to 1 instead of 0: such layers have no decay.

    With decay are: g, and the weights of other layers (parameters of two dimensions or more, of attention, recurrent
    layers and embeddings too). Under `batch`, `layer` and `spectral`, decay of the weight changes only the effective
    learning rate; it has it nevertheless, as is usual before such normalizations. Without decay are: v, biases, scales
    and shifts of normalizations, everything of one dimension, and weights that `project` gives a fixed norm.

        optimizer = torch.optim.AdamW(wnrl.parameter_groups(network, weight_decay=0.01), lr=1e-3)

    Args:
        network: normalized or plain; call it after `normalize`.
        weight_decay: λ of the first group.
        **options: for both groups, such as `lr`.

    Returns:
        The group with decay and the group without, each parameter in exactly one of them, in the order of
        `network.parameters()`; frozen ones too, which optimizers skip. A tied parameter has decay only if it would in
        each of its places.

    Raises:
        ValueError: a negative or infinite `weight_decay`, or a parameter without a shape.
    """
    if not 0.0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be 0 or more and finite, got {weight_decay}")
    decays: dict[nn.Parameter, bool] = {}
    for module in network.modules():
        for parameter, decay in _decays(module):
            decays[parameter] = decays.get(parameter, True) and decay
    with_decay = [parameter for parameter in network.parameters() if decays[parameter]]
    without = [parameter for parameter in network.parameters() if not decays[parameter]]
    return [
        {**options, "params": with_decay, "weight_decay": weight_decay},
        {**options, "params": without, "weight_decay": 0.0},
    ]


def _decays(module: nn.Module) -> Iterator[tuple[nn.Parameter, bool]]:
    """The parameters of a module itself, and of parametrizations of its g and v, each with whether it decays."""
    lengths: set[str] = set()
    directions: set[str] = set()
    if isinstance(module, WeightNormLayer):
        lengths = {letter("g", name) for name in module.weight_names}
        directions = {letter("v", name) for name in module.weight_names}
    fixed = isinstance(module, _NORMS) or (isinstance(module, Projection) and not isinstance(module, WeightClipped))
    for name, parameter in module._parameters.items():
        stem = name.removesuffix("_orig")  # of a pruned parameter
        if parameter is None:
            continue
        if isinstance(parameter, nn.UninitializedParameter):
            raise ValueError(f"the {name} of {module} has no shape yet: call the network once first")
        if stem in lengths:
            yield parameter, cast(WeightNormLayer, module).units != "log"
        else:
            yield parameter, parameter.ndim > 1 and "bias" not in name and stem not in directions and not fixed
    for name, parametrization in getattr(module, "parametrizations", {}).items():
        if name in lengths | directions:
            yield from ((parameter, False) for parameter in parametrization.parameters())
