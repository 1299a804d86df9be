"""Layers that cannot be normalized, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parallel import DistributedDataParallel

from wnrl.normalizers.conversions import NORMALIZERS, WEIGHT, Conversion, Options
from wnrl.normalizers.layer_kinds import is_dense, is_embedding, is_recurrent, is_without_weight, weight_norm_kind
from wnrl.normalizers.take_over import TorchWeightNorm
from wnrl.weight_norm.normalized_layer import NormalizedLayer


class Refusals:
    """Layers that cannot be normalized: each is an error, or, if not `strict`, left out."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self.errors: dict[nn.Module, ValueError] = {}

    def check(self, layers: dict[nn.Module, Any], check: Callable[[nn.Module], None]) -> None:
        """Take out of `layers` those for which `check` raises ValueError."""
        for layer in list(layers):
            try:
                check(layer)
            except ValueError as error:
                if self._strict:
                    raise
                self.errors[layer] = error
                del layers[layer]

    def reasons(self) -> dict[nn.Module, str]:
        """Why each was left out, for `describe`."""
        return {layer: str(error) for layer, error in self.errors.items()}


def check_not_distributed(network: nn.Module) -> None:
    """Refuse networks whose parameters were handed on already: what synchronizes them would not know new ones."""
    if any(hasattr(parameter, "full_tensor") for parameter in network.parameters()):
        raise ValueError(
            "a sharded network cannot be normalized, since FSDP would not know g: do it before fully_shard"
        )
    if any(isinstance(module, DistributedDataParallel) for module in network.modules()):
        raise ValueError(
            "normalize before DistributedDataParallel, which would not synchronize new parameters such as g"
        )


def check_conversions(
    network: nn.Module,
    chosen: dict[nn.Module, Conversion],
    names: Mapping[nn.Module, str],
    norm: str,
    options: Options,
    wrapped: Mapping[nn.Module, TorchWeightNorm],
    refused: Refusals,
) -> None:
    """Refuse layers that cannot be converted, before any other is."""
    normalizer = NORMALIZERS[norm]
    users, summands = _users(network), _summands(network)

    def check(layer: nn.Module) -> None:
        if normalizer.of_outputs and chosen[layer] is normalizer.hidden and layer in summands:
            raise ValueError(
                f"{norm!r} cannot normalize the outputs of {summands[layer]} is only one summand of them: take a "
                "normalizer of weights, such as 'weight'"
            )
        if layer in wrapped:
            try:
                wrapped[layer].check_not_tied(network.modules(), wrapped)
                wrapped[layer].hand_over(options.lengths, options.units, options.ballast)
            except ValueError as error:
                raise ValueError(f"{quoted(names[layer])} cannot be taken over: {error}") from error
        chosen[layer].check(layer, options)

    refused.check(chosen, check)
    count = -1
    while count != len(chosen):  # those that are tied to a refused one are refused too
        count = len(chosen)
        refused.check(chosen, lambda layer: _check_not_tied(layer, users, chosen, names[layer]))


def can_be_normalized(layer: nn.Module) -> bool:
    """Whether `layer` is of a kind that has a weight to normalize."""
    return is_dense(layer) or is_recurrent(layer) or is_embedding(layer)


def check_can_be_normalized(name: str, module: nn.Module) -> None:
    """Raise ValueError unless `module` is a plain layer of such a kind."""
    if isinstance(module, NormalizedLayer):
        raise ValueError(f"{quoted(name)} is already normalized: leave it out of layers, or wnrl.remove it first")
    if isinstance(module, LazyModuleMixin):
        raise ValueError(f"{quoted(name)} has no shape yet: call the network once first")
    if is_without_weight(module):
        raise ValueError(f"{quoted(name)} is parametrized: remove its parametrization first")
    if not can_be_normalized(module):
        kinds = "a dense, convolutional or recurrent layer, attention or an embedding"
        raise ValueError(f"{quoted(name)} is a {type(module).__name__} and cannot be normalized: choose {kinds}")
    weight_norm_kind(module).check_plain(module)


def quoted(name: str) -> str:
    """A layer's name as messages have it."""
    return f"layer {name!r}" if name else "the network itself"


def _summands(network: nn.Module) -> dict[nn.Module, str]:
    """Layers that their module declares as one of `summands`, such as the mean of a noisy layer, with that module."""
    found = {}
    for name, module in network.named_modules():
        for part in getattr(type(module), "summands", ()):
            found[module._modules.get(part)] = f"{quoted(name)}, a {type(module).__name__}, whose {part!r}"
    return {layer: whole for layer, whole in found.items() if layer is not None}


def _users(network: nn.Module) -> dict[nn.Parameter, list[nn.Module]]:
    """The modules that hold each parameter."""
    users: dict[nn.Parameter, list[nn.Module]] = {}
    for module in network.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                users.setdefault(parameter, []).append(module)
    return users


def _check_not_tied(
    layer: nn.Module,
    users: Mapping[nn.Parameter, list[nn.Module]],
    chosen: Mapping[nn.Module, Conversion],
    name: str,
) -> None:
    """Refuse a layer whose weight another module uses, unless both become weight-normalized with the same rows."""
    for own, parameter in layer._parameters.items():
        modules = users[parameter] if parameter is not None else []
        together = all(chosen.get(module) is WEIGHT for module in modules)
        alike = len({isinstance(module, _ConvTransposeNd) for module in modules}) == 1
        free = chosen[layer] is WEIGHT and "bias" in own
        if len(modules) > 1 and not free and not (together and alike):
            raise ValueError(
                f"the {own} of {quoted(name)} is tied to another module's and would come apart: leave the layer "
                "out by layers=, share the whole layer, or convert all of them to 'weight'"
            )
