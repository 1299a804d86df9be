"""Initialization from a minibatch: layer by layer, within one forward pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from wnrl.initialization.weighted_layers import WeightedLayer, check_lengths_are_free, layers_to_initialize
from wnrl.uncompiled import uncompiled
from wnrl.weight_norm.normalized_layer import NormalizedLayer

Outputs = Callable[[], Tensor]
"""The pre-activations of a layer, before any normalization of outputs, with the weights that it has then."""
Rule = Callable[[WeightedLayer, Outputs], str]
"""Sets a layer from its pre-activations; returns what has to be said of it, or nothing."""


@torch.no_grad()
def initialize_layers(
    network: nn.Module, rule: Rule, init: str, inputs: tuple[Any, ...], keywords: Mapping[str, Any]
) -> None:
    """Set every dense, bilinear and convolutional layer before its first call in one forward pass, in place.

    The network is in evaluation mode. Recurrent layers, attention and layers with frozen weights stay, and with a
    warning those that share their weight with a module that stays, such as an embedding. A layer that is called several
    times, or whose weights are tied, is set before the first call.

    Args:
        network: called as `network(*inputs, **keywords)`.
        rule: for one layer.
        init: name of the initialization in messages.
        inputs: the minibatch.
        keywords: inputs by name.

    Raises:
        ValueError: no layer to initialize, a layer that is `projected` or `spectral` or whose weight or bias is
            parametrized, one example, or examples that are all equal. After any error, every parameter
            and buffer has its old value.
    """
    layers = layers_to_initialize(network)
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if is_lazy(tensor):
            raise ValueError(f"{name} has no shape yet: call the network once first")
    check_lengths_are_free(layers, init)
    _check_inputs([*inputs, keywords], init)
    with _evaluating(network), _restored_on_error(network):
        waiting = {layer.layer: layer for layer in layers}
        reports: list[str] = []
        if shared := _held_by_others(network, waiting):
            names = ", ".join(waiting.pop(module).name for module in shared)
            reports.append(f"not initialized, since modules that stay as they are have the same weight: {names}")
        with _set_by_its_first_call(waiting, rule, reports), uncompiled():
            network(*inputs, **keywords)
        if names := ", ".join(layer.name for layer in waiting.values()):
            reports.append(f"not initialized, since the forward pass did not reach them: {names}")
        for text in reports:
            warnings.warn(text, stacklevel=4)  # of the caller of `data_init`


def _held_by_others(network: nn.Module, waiting: Mapping[nn.Module, WeightedLayer]) -> list[nn.Module]:
    """The modules in `waiting` whose weight a module that is not, such as an embedding, has too."""
    others = {id(p) for module in network.modules() if module not in waiting for p in module._parameters.values()}
    return [module for module, layer in waiting.items() if id(layer.directions) in others]


def _check_inputs(inputs: Any, init: str) -> None:
    batches = list(_tensors(inputs))
    if all(len(x) < 2 for x in batches):
        raise ValueError(f"{init} needs statistics over a minibatch, got one example or none: pass several hundred")
    if all(bool((x == x[:1]).all()) for x in batches):
        raise ValueError("all examples of the minibatch are the same: pass different ones, as random play gives them")


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors with a batch dimension in nested mappings and sequences."""
    if isinstance(value, Tensor) and value.ndim:
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(item)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def _restored_on_error(network: nn.Module) -> Iterator[None]:
    """Restores the old values of parameters and buffers after an error, also of buffers that were replaced."""
    old = [(tensor, tensor.clone()) for tensor in (*network.parameters(), *network.buffers())]
    buffers = [(module._buffers, dict(module._buffers)) for module in network.modules()]
    try:
        yield
    except BaseException:
        for current, before in buffers:
            current.update(before)
        for tensor, value in old:
            tensor.copy_(value)
        raise


@contextmanager
def _set_by_its_first_call(waiting: dict[nn.Module, WeightedLayer], rule: Rule, reports: list[str]) -> Iterator[None]:
    """Sets each layer before its first call, removes it from `waiting`, and adds what is said of it to `reports`."""

    @torch.no_grad()  # also where the forward pass enables gradients
    def set_layer(module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        layer = waiting.get(module)
        if layer is not None:
            if text := rule(layer, lambda: _forward(module)(*inputs, **keywords)):
                reports.append(text)
            tied = [other for other, its in waiting.items() if its.directions is layer.directions]
            for other in tied:  # itself too
                del waiting[other]

    handles = [module.register_forward_pre_hook(set_layer, with_kwargs=True) for module in waiting]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _forward(module: nn.Module) -> Callable[..., Tensor]:
    return module.before_norm if isinstance(module, NormalizedLayer) else module.forward
