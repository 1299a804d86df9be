"""The paper's data-dependent initialization (Salimans & Kingma 2016, section 3)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from wnrl.initialization.weighted_layers import WeightedLayer, check_lengths_are_free, layers_to_initialize
from wnrl.uncompiled import uncompiled
from wnrl.weight_norm.normalized_layer import NormalizedLayer

DIRECTION_STD = 0.05  # section 3: v ~ N(0, 0.05²)
LEAST_DEVIATION = 1e-10  # σ below which a unit counts as constant
CONSTANT_RATIO = 84  # σ/|μ| below which a unit's variation counts as rounding, in units of ε; 1e-5 in float32


@torch.no_grad()
def data_init(network: nn.Module, *inputs: Any, generator: torch.Generator | None = None, **keywords: Any) -> None:
    """Initialize every layer so that its pre-activations have mean 0 and variance 1 on one minibatch, in place.

    Section 3, equations 5 and 6 of the paper: v ~ N(0, 0.05²), t = v·x/‖v‖, g ← 1/σ[t], b ← −μ[t]/σ[t], layer by layer
    within one forward pass (in evaluation mode), per output channel over batch and positions. `g` is stored in the
    layer's units. Plain layers get the weight v/(‖v‖σ), as in the paper's "normal parameterization" baseline
    (section 5.1). Under `batch` and `mean-batch` the running statistics are set instead of the bias.

    Every dense, bilinear and convolutional layer is initialized, heads too. In a layer without bias only the weight is
    set; a layer that is called several times, or whose weights are tied, is initialized by the first call. A unit that
    is constant over the minibatch gets a row of length 1 and mean 0, with a warning. The forward pass of a subclass has
    to add the bias as torch's does. Recurrent layers, attention and layers with frozen weights stay.

    Args:
        network: called as `network(*inputs, **keywords)`.
        inputs: the minibatch, `[B, ...]` with B > 1 (the authors take 500 examples), in tensors, dictionaries or
            sequences.
        generator: for drawing `v`; None: the global one.
        keywords: inputs by name.

    Raises:
        ValueError: no layer to initialize, a layer that is `projected` or `spectral` or whose weight is parametrized,
            one example, examples that are all equal, or values that are not finite. After any error, every parameter
            and buffer has its old value.
    """
    layers = layers_to_initialize(network)
    check_lengths_are_free(layers, "data_init")
    _check_inputs([*inputs, keywords])
    with _evaluating(network), _restored_on_error(network):
        uncalled = {module.out_proj for module in network.modules() if isinstance(module, nn.MultiheadAttention)}
        waiting = {layer.layer: layer for layer in layers if layer.layer not in uncalled}
        constant: dict[WeightedLayer, Tensor] = {}
        with _initialized_by_its_first_call(waiting, constant, generator), uncompiled():
            network(*inputs, **keywords)
        for text in _reports(waiting.values(), constant):
            warnings.warn(text, stacklevel=3)


def _check_inputs(inputs: Any) -> None:
    batches = list(_tensors(inputs))
    if all(len(x) < 2 for x in batches):
        raise ValueError("data_init needs statistics over a minibatch, got one example or none: pass several hundred")
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
def _initialized_by_its_first_call(
    waiting: dict[nn.Module, WeightedLayer], constant: dict[WeightedLayer, Tensor], generator: torch.Generator | None
) -> Iterator[None]:
    """Initializes each layer before its first call, removes it from `waiting`, and records its constant units."""

    def initialize(module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        layer = waiting.get(module)
        if layer is not None:
            constant[layer] = _initialize(layer, inputs, keywords, generator)
            tied = [other for other, its in waiting.items() if its.directions is layer.directions]
            for other in tied:  # itself too
                del waiting[other]

    handles = [module.register_forward_pre_hook(initialize, with_kwargs=True) for module in waiting]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _initialize(
    layer: WeightedLayer, inputs: tuple[Any, ...], keywords: dict[str, Any], generator: torch.Generator | None
) -> Tensor:
    """Equation 5 for one layer, from its inputs; returns which of its units are constant, `[out]`."""
    directions = layer.empty_rows(generator).normal_(0.0, DIRECTION_STD, generator=generator)
    zero = torch.zeros(len(directions), device=layer.directions.device)
    layer.set_rows(directions, zero + 1)
    layer.subtract(zero)
    forward = layer.layer.before_norm if isinstance(layer.layer, NormalizedLayer) else layer.layer.forward
    mean, std, constant = _statistics(layer, forward(*inputs, **keywords))
    layer.set_rows(directions, 1 / std)
    layer.subtract(mean / std)
    return constant


def _statistics(layer: WeightedLayer, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Per channel of `t`, each `[out]`: mean, population standard deviation (1 if constant), and which are constant."""
    rows = t.movedim(layer.channel_dim, 0).flatten(1)  # [out, batch and positions]
    dtype = torch.promote_types(t.dtype, torch.float32)
    variance, mean = torch.var_mean(rows.to(dtype), dim=1, correction=0)
    if not bool(torch.isfinite(variance).all()):
        raise ValueError(f"the pre-activations of {layer} are not finite: check the minibatch and the network")
    kind = torch.finfo(layer.directions.dtype)
    least = max(LEAST_DEVIATION, 1 / kind.max)  # 1/σ must have a number
    ratio = max(CONSTANT_RATIO * torch.finfo(dtype).eps, kind.eps, torch.finfo(t.dtype).eps)
    std = variance.sqrt()
    constant = std <= least + ratio * mean.abs()
    return mean, torch.where(constant, 1.0, std), constant


def _reports(unreached: Iterable[WeightedLayer], constant: Mapping[WeightedLayer, Tensor]) -> Iterator[str]:
    for layer, units in constant.items():
        if count := int(units.sum()):
            text = f"{count} of {len(units)} units of {layer} are constant over the minibatch"
            yield f"{text}: their rows have length 1"
    if names := ", ".join(layer.name for layer in unreached):
        yield f"not initialized, since the forward pass did not reach them: {names}"
