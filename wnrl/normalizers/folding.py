"""Folded networks: copies with plain layers instead of normalized ones, for acting and for targets."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from wnrl.weight_norm.dense import WeightNormLinear
from wnrl.weight_norm.formed_weights import form_weights, separate_again
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.wrappers import unregister_stripping

Tensors = tuple[list[Tensor], list[Tensor]]
_ORDINARY = (nn.Parameter, type(None))


def fold(network: nn.Module, autocast_dtype: torch.dtype = torch.float32) -> nn.Module:
    """A deep copy of `network` with plain layers wherever a normalizer can be written into weights and biases.

    The function is that of the network in evaluation mode: w = g v/‖v‖ for weight norm, running statistics for the
    batch normalizers. Layer norm stays, since it depends on the example. It costs what an unnormalized network costs;
    update it with `refresh` or `polyak`.

    Args:
        network: any network.
        autocast_dtype: for a copy that is only called under autocast to this dtype, unless float32: modules that
            declare `computes_in_autocast_dtype` (torsos) keep the weights of their layers in it, as autocast would cast
            them at every call. Results are the same to the bit.

    Raises:
        ValueError: the parameters are distributed by FSDP, whose networks cannot be copied.
    """
    if any(hasattr(parameter, "full_tensor") for parameter in network.parameters()):
        raise ValueError(
            "a sharded network cannot be copied: fold it before fully_shard, and wnrl.refresh(folded, network) later"
        )
    with torch.inference_mode(False):  # the copy is to be written to later
        folded = deep_copy(network)
        make_plain(folded, [layer for layer in normalized_layers(folded).values() if layer.can_be_folded])
        if autocast_dtype is not torch.float32:
            for module in folded.modules():
                if getattr(module, "computes_in_autocast_dtype", False):
                    for layer in module.modules():
                        if isinstance(layer, nn.Linear | nn.Conv2d):  # but not its layer normalization
                            for parameter in layer.parameters(recurse=False):
                                parameter.data = parameter.data.to(autocast_dtype)
        return folded


def deep_copy(network: nn.Module) -> nn.Module:
    """As `copy.deepcopy`, also of a network that holds results of a graph, such as a policy its last distribution.

    torch refuses to copy such tensors; in the copy they are detached.
    """
    with _DetachedResults():
        return copy.deepcopy(network)


class _DetachedResults(TorchFunctionMode):
    """Within it, deep copies of results of a graph are their values."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is not Tensor.__deepcopy__ or args[0].is_leaf:
            return function(*args, **(kwargs or {}))
        tensor, memo = args
        return memo.setdefault(id(tensor), tensor.detach().clone())


def remove(network: nn.Module) -> nn.Module:
    """Give the normalized layers of `network` their plain classes back, in place, with the same function.

    `v` becomes `weight` again, the same parameter, with the values of the effective weight; of the batch normalizers
    the function in evaluation mode is kept. An optimizer that holds `v` goes on with it, but its state is that of `v`.

    Layers that share a weight have to be removed together: the others' `v` would become the effective weight too, and
    rows with g < 0 would turn around.

    Returns:
        The network.

    Raises:
        ValueError: a layer under layer normalization, which no plain layer can replace; nothing is changed.
    """
    layers = normalized_layers(network)
    for name, layer in layers.items():
        if not layer.can_be_folded:
            what = f"layer {name!r}" if name else "the network itself"
            raise ValueError(f"{what} is a {type(layer).__name__}: no plain layer has its function, so it stays")
    make_plain(network, layers.values())
    return network


def normalized_layers(network: nn.Module) -> dict[str, NormalizedLayer]:
    """The normalized layers of `network` by name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, NormalizedLayer)}


def make_plain(network: nn.Module, layers: Iterable[NormalizedLayer]) -> None:
    """Make these layers of `network` plain, in place; those that share v go on sharing a weight if theirs are equal."""
    values = {layer: layer.plain_values() for layer in layers}
    written: dict[nn.Parameter, Tensor] = {}
    for layer, plain in values.items():
        holders = {name: holder for name, holder in layer.holders().items() if holder is not None and name in plain}
        same = {name: _same(written.setdefault(holder, plain[name]), plain[name]) for name, holder in holders.items()}
        layer.become_plain(plain, [name for name, equal in same.items() if not equal])
    separate_again(network)
    for module in network.modules():
        if not any(isinstance(part, NormalizedLayer) for part in module.modules()):
            unregister_stripping(module)


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether they are one tensor, perhaps with NaN, or equal; on the meta device, without values, all are."""
    return one is other or one.is_meta or torch.equal(one, other)


@torch.no_grad()
def unfold(network: nn.Module, folded: nn.Module) -> None:
    """Give `network`, in place, the function of `folded`: the inverse of `refresh`, for weights that were saved folded.

    `folded` may also be a plain network of the same structure. Running statistics are reset.

    Raises:
        ValueError: `folded` has another structure than `fold(network)`.
    """
    FoldedCopy(folded, network)  # checks that they match
    modules = dict(folded.named_modules(remove_duplicate=False))
    for prefix, module in _walk(network):
        plain = modules[prefix.removesuffix(".")]
        if isinstance(module, NormalizedLayer):
            own = _own_parameters(module)
            parameters = plain.named_parameters(remove_duplicate=False)
            module.unfold({name: value for name, value in parameters if name in own})
            statistics = {} if module.can_be_folded else _own_buffers(plain)
            for name, buffer in _own_buffers(module).items() if statistics else ():
                buffer.copy_(statistics[name])
        else:
            saved = _own_parameters(plain) | _own_buffers(plain)
            for name, target in (_own_parameters(module) | _own_buffers(module)).items():
                target.copy_(saved[name])


def refresh(folded: nn.Module, network: nn.Module) -> None:
    """Copy effective weights, other parameters and buffers of `network` into `folded`, in place.

    No storage is replaced, so a captured graph that uses `folded` stays valid. For repeated use: `FoldedCopy`.

    Raises:
        ValueError: `folded` has another structure than `fold(network)`.
    """
    FoldedCopy(folded, network).refresh()


def polyak(folded: nn.Module, network: nn.Module, tau: float) -> None:
    """Soft update in place: w_folded ← (1 − tau) w_folded + tau w, on effective weights and other parameters.

    Averaging `g` and `v` instead would give another w. Buffers are copied. For repeated use: `FoldedCopy`.

    Args:
        folded: a `fold` of `network`.
        network: the learner.
        tau: weight of the learner, in [0, 1].

    Raises:
        ValueError: `tau` outside [0, 1], or structures that do not match.
    """
    FoldedCopy(folded, network).polyak(tau)


class FoldedCopy:
    """A folded network and the network it is a copy of; their tensors are matched once, when it is made.

    Values may change in place, as in `load_state_dict`; a tensor or layer that is replaced later is not noticed.

    Args:
        folded: a `fold` of `network`.
        network: the learner.

    Raises:
        ValueError: `folded` has another structure than `fold(network)`.
    """

    @torch.no_grad()
    def __init__(self, folded: nn.Module, network: nn.Module) -> None:
        targets: dict[str, Tensor] = dict(folded.named_parameters(remove_duplicate=False))
        parts = [(prefix, module, _own_parameters(module)) for prefix, module in _walk(network)]
        _check_match(targets, {prefix + name: tensor for prefix, _, own in parts for name, tensor in own.items()})
        self._buffers = _pairs(dict(folded.named_buffers(remove_duplicate=False)), dict(_buffers(network)))
        self._plain: list[Tensor] = []
        plain_targets: list[Tensor] = []
        self._layers: list[tuple[NormalizedLayer, dict[str, Tensor]]] = []
        found: set[int] = set()
        for prefix, module, own in parts:
            places: dict[str, Tensor] = {}
            for name in own:
                target = targets[prefix + name]
                if id(target) not in found:
                    places[name] = target
                    found.add(id(target))
            if isinstance(module, NormalizedLayer):
                self._layers.append((module, places))
            else:
                plain_targets.extend(places.values())
                self._plain.extend(own[name].detach() for name in places)
        self._targets = plain_targets + [target for _, places in self._layers for target in places.values()]

    @torch.no_grad()
    def refresh(self, values: list[Tensor] | None = None) -> None:
        """As the function `refresh`; with `values`, from another copy of this network, it does not fold once more."""
        values = self.values() if values is None else values
        for targets, sources in ((self._targets, values), self._buffers):
            if targets:
                torch._foreach_copy_(targets, sources)

    @torch.no_grad()
    def polyak(self, tau: float, values: list[Tensor] | None = None) -> None:
        """As the function `polyak`; `values` as in the method `refresh`."""
        if not 0.0 <= tau <= 1.0:
            raise ValueError(f"tau must lie in [0, 1], got {tau}")
        targets, sources = self._targets, self.values() if values is None else values
        if targets:
            moved = [source.to(target) for source, target in zip(sources, targets, strict=True)]
            torch._foreach_lerp_(targets, moved, tau)
        if self._buffers[0]:
            torch._foreach_copy_(*self._buffers)

    @torch.no_grad()
    def values(self) -> list[Tensor]:
        """What the folded parameters would become, in an order that all copies of this network share."""
        sources = list(self._plain)
        dense: Any = [layer for layer, _ in self._layers if type(layer) is WeightNormLinear]
        formed = dict(zip(dense, form_weights(dense), strict=True))
        for layer, places in self._layers:
            weight = formed.get(layer)
            folded = _own_parameters(layer) if weight is None else {**layer._parameters, "weight": weight}
            sources += [folded[name].detach() for name in places]
        return [source if type(source) is Tensor else _whole(source) for source in sources]


def _whole(tensor: Any) -> Any:
    """A tensor that FSDP has distributed, as an ordinary one; all its processes have to call it. Others themselves."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


@contextmanager
def _gathered(layer: nn.Module) -> Iterator[None]:
    """Within it, parameters that FSDP has distributed are ordinary ones; all its processes have to enter it."""
    own = [(part, dict(part._parameters)) for part in layer.modules()]
    try:
        for part, parameters in own:
            whole = {name: _whole(p) for name, p in parameters.items()}
            part._parameters.update({name: p if p is None else nn.Parameter(p) for name, p in whole.items()})
        yield
    finally:
        for part, parameters in own:
            part._parameters.update(parameters)


def _walk(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Modules and the prefixes of their tensors' names, without those that belong to normalizers."""
    yield prefix, module
    parts = module.own_parts if isinstance(module, NormalizedLayer) else ()
    for name, child in module._modules.items():
        if child is not None and name not in parts:
            yield from _walk(child, f"{prefix}{name}.")


def _own_parameters(module: nn.Module) -> dict[str, Tensor]:
    """A module's own parameters by name, as its fold has them."""
    if not isinstance(module, NormalizedLayer):
        return dict(module.named_parameters(recurse=False, remove_duplicate=False))
    if all(type(parameter) in _ORDINARY for parameter in module._parameters.values()):
        return module.folded()
    with _gathered(module):
        return module.folded()


def _buffers(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for prefix, module in _walk(network):
        yield from ((prefix + name, buffer) for name, buffer in _own_buffers(module).items())


def _own_buffers(module: nn.Module) -> dict[str, Tensor]:
    """A module's own buffers by name, as its fold has them."""
    own = dict(module.named_buffers(recurse=False, remove_duplicate=False))
    if not isinstance(module, NormalizedLayer):
        return own
    if module.can_be_folded:
        return {name: buffer for name, buffer in own.items() if name not in module.own_buffers()}
    parts = [(part, module.get_submodule(part)) for part in module.own_parts]
    return own | {name: buffer for part, norm in parts for name, buffer in norm.named_buffers(part)}


def _pairs(targets: dict[str, Tensor], sources: dict[str, Tensor]) -> Tensors:
    """(targets, sources), each target once."""
    _check_match(targets, sources)
    unique = {id(target): (target, sources[name]) for name, target in targets.items()}
    return [target for target, _ in unique.values()], [source.detach() for _, source in unique.values()]


def _check_match(targets: Mapping[str, Tensor], sources: Mapping[str, Tensor]) -> None:
    shapes, other = ({(name, t.shape) for name, t in tensors.items()} for tensors in (targets, sources))
    if shapes != other:
        different = sorted({name for name, _ in shapes ^ other})
        raise ValueError(f"not a fold of this network, they differ in {', '.join(different[:5])}: make it with fold()")
