"""Folded networks: copies with plain layers instead of normalized ones, for acting and for targets."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from wnrl.normalizers.normalize import replace_modules
from wnrl.weight_norm.normalized_layer import NormalizedLayer

Tensors = tuple[list[Tensor], list[Tensor]]


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
    """
    network = copy.deepcopy(network)
    normalized = [module for _, module in _walk(network) if isinstance(module, NormalizedLayer)]
    folded = replace_modules(network, {layer: layer.fold() for layer in normalized})
    if autocast_dtype is not torch.float32:
        for module in folded.modules():
            if getattr(module, "computes_in_autocast_dtype", False):
                for layer in module.modules():
                    if isinstance(layer, nn.Linear | nn.Conv2d):
                        layer.to(autocast_dtype)
    return folded


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
            module.unfold(dict(plain.named_parameters()))
        else:
            saved = (*plain.parameters(recurse=False), *plain.buffers(recurse=False))
            own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
            for target, source in zip(own, saved, strict=True):
                target.copy_(source)


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
        self._plain: Tensors = [], []
        self._layers: list[tuple[NormalizedLayer, dict[str, Tensor]]] = []
        found: set[int] = set()
        for prefix, module, own in parts:
            places = {name: targets[prefix + name] for name in own if id(targets[prefix + name]) not in found}
            found.update(map(id, places.values()))
            if isinstance(module, NormalizedLayer):
                self._layers.append((module, places))
            else:
                self._plain[0].extend(places.values())
                self._plain[1].extend(own[name].detach() for name in places)

    @torch.no_grad()
    def refresh(self) -> None:
        """As the function `refresh`."""
        for targets, sources in (self._parameters(), self._buffers):
            if targets:
                torch._foreach_copy_(targets, sources)

    @torch.no_grad()
    def polyak(self, tau: float) -> None:
        """As the function `polyak`."""
        if not 0.0 <= tau <= 1.0:
            raise ValueError(f"tau must lie in [0, 1], got {tau}")
        targets, sources = self._parameters()
        if targets:
            moved = [source.to(target) for source, target in zip(sources, targets, strict=True)]
            torch._foreach_lerp_(targets, moved, tau)
        if self._buffers[0]:
            torch._foreach_copy_(*self._buffers)

    def _parameters(self) -> Tensors:
        """(targets, sources), each target once."""
        targets, sources = (list(tensors) for tensors in self._plain)
        for layer, places in self._layers:
            folded = layer.folded()
            targets += places.values()
            sources += [folded[name].detach() for name in places]
        return targets, sources


def _walk(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Modules and the prefixes of their tensors' names, without the parts of normalized layers."""
    yield prefix, module
    if not isinstance(module, NormalizedLayer):
        for name, child in module._modules.items():
            if child is not None:
                yield from _walk(child, f"{prefix}{name}.")


def _own_parameters(module: nn.Module) -> dict[str, Tensor]:
    """A module's own parameters by name, as its fold has them."""
    return module.folded() if isinstance(module, NormalizedLayer) else dict(module.named_parameters(recurse=False))


def _buffers(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for prefix, module in _walk(network):
        if not isinstance(module, NormalizedLayer):
            yield from ((prefix + name, buffer) for name, buffer in module.named_buffers(recurse=False))


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
