"""Initial weights: the paper's data-dependent initialization, and that of its published DQN code."""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from wnrl.normalizers import WEIGHT_NORM_LAYERS
from wnrl.weight_norm import WeightNormLayer

DIRECTION_STD = 0.05  # section 3: v ~ N(0, 0.05²)
VARIANCE_EPSILON = 1e-12
CONSTANT_RATIO = 1e-5  # σ/|μ| under which a unit's variation is rounding


@torch.no_grad()
def data_init(network: nn.Module, *inputs: Any, generator: torch.Generator | None = None) -> None:
    """Start every weight-normalized layer with pre-activations of mean 0 and variance 1 on one minibatch.

    Section 3, equations 5 and 6 of the paper: v ~ N(0, 0.05²), t = v·x/‖v‖, g ← 1/σ[t], b ← −μ[t]/σ[t], layer by layer
    within one forward pass (in evaluation mode), per output channel over batch and positions. `g` is stored in the
    layer's units. A layer without bias gets its `g` alone; a layer called several times is initialized by its first
    call. A unit that is constant over the minibatch gets g = 1 and mean 0, and a warning.

    Args:
        network: a normalized network, called as `network(*inputs)`.
        inputs: the minibatch, `[B, ...]` with B > 1 (the authors take 500 examples).
        generator: of `v`; without it the global one.

    Raises:
        ValueError: no weight-normalized layer, one example, examples all the same, or values that are not finite; then
            every parameter is left as it was.
    """
    layers = {name: m for name, m in network.named_modules() if isinstance(m, WeightNormLayer)}
    if not layers:
        raise ValueError(f"{type(network).__name__} has no weight-normalized layer: call normalize(network, 'weight')")
    _check_inputs(inputs)
    waiting = dict(layers)
    with _evaluating(network), _restored_on_error(layers.values()), _hooked(waiting, generator):
        network(*inputs)
    if waiting:
        warnings.warn(f"not initialized, since the forward pass did not reach them: {', '.join(waiting)}", stacklevel=3)


@torch.no_grad()
def he_uniform_(network: nn.Module, bias: float = 0.1, generator: torch.Generator | None = None) -> None:
    """Draw each weight from U(−√(3/n), √(3/n)), n inputs a row, and set each bias, in place.

    The initialization of the paper's published DQN code (He-uniform with gain 1, bias 0.1). On a weight-normalized
    layer the effective weight is the one drawn. For linear and convolutional layers, plain or weight-normalized.

    Raises:
        ValueError: no such layer.
    """
    layers = [m for m in network.modules() if isinstance(m, WeightNormLayer) or type(m) in WEIGHT_NORM_LAYERS]
    if not layers:
        raise ValueError(f"{type(network).__name__} has no linear or convolutional layer to initialize")
    for layer in layers:
        old = layer.v if isinstance(layer, WeightNormLayer) else cast(Tensor, layer.weight)
        bound = math.sqrt(3.0 / old[0].numel())
        set_weight_(layer, _empty(old, generator).uniform_(-bound, bound, generator=generator))
        if layer.bias is not None:
            cast(Tensor, layer.bias).fill_(bias)


@torch.no_grad()
def set_weight_(layer: nn.Module, weight: Tensor) -> None:
    """Give a plain or a weight-normalized layer this (effective) weight, of the same shape, in place."""
    if isinstance(layer, WeightNormLayer):
        layer.set_weight(weight)
    else:
        cast(Tensor, layer.weight).copy_(weight)


def _empty(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Of the shape of `like`, on the generator's device, where it can draw."""
    return torch.empty(like.shape, dtype=like.dtype, device=like.device if generator is None else generator.device)


def _check_inputs(inputs: tuple[Any, ...]) -> None:
    tensors = list(_tensors(inputs))
    if any(len(x) < 2 for x in tensors):
        raise ValueError("data_init needs statistics over a minibatch, got one example: pass several hundred")
    if tensors and all(bool((x == x[:1]).all()) for x in tensors):
        raise ValueError("all examples of the minibatch are the same: pass different ones, as random play gives them")


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors with a batch dimension in nested dictionaries and sequences."""
    if isinstance(value, Tensor) and value.ndim:
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
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
def _restored_on_error(layers: Any) -> Iterator[None]:
    old = [(p, p.clone()) for layer in layers for p in layer.parameters()]
    try:
        yield
    except BaseException:
        for parameter, value in old:
            parameter.copy_(value)
        raise


@contextmanager
def _hooked(waiting: dict[str, WeightNormLayer], generator: torch.Generator | None) -> Iterator[None]:
    """Initialize each layer before its first call, and take it out of `waiting`."""

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def initialize(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if name in waiting:
                _initialize(name, waiting.pop(name), inputs[0], generator)

        return initialize

    handles = [layer.register_forward_pre_hook(hook(name)) for name, layer in waiting.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _initialize(name: str, layer: WeightNormLayer, x: Tensor, generator: torch.Generator | None) -> None:
    """Equation 5 for one layer, from its own input."""
    layer.v.copy_(_empty(layer.v, generator).normal_(0.0, DIRECTION_STD, generator=generator))
    layer.g.fill_(1.0 / layer.scale)
    if layer.bias is not None:
        layer.bias.zero_()
    mean, std = _statistics(name, layer.forward(x), layer.channel_dim)
    layer.g.copy_(1.0 / (std * layer.scale))
    if layer.bias is not None:
        layer.bias.copy_(-mean / std)


def _statistics(name: str, t: Tensor, channel_dim: int) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of `t` per channel, each `[out]`; the latter 1 for constant units."""
    rows = t.movedim(channel_dim, 0).flatten(1)  # [out, batch and positions]
    variance, mean = torch.var_mean(rows.to(torch.promote_types(t.dtype, torch.float32)), dim=1, correction=0)
    if not bool(torch.isfinite(variance).all()):
        raise ValueError(f"the pre-activations of layer {name!r} are not finite: check the minibatch and the network")
    constant = variance <= VARIANCE_EPSILON + (CONSTANT_RATIO * mean) ** 2
    if count := int(constant.sum()):
        text = f"{count} of {len(mean)} units of layer {name!r} are constant over the minibatch: g = 1 for these"
        warnings.warn(text, stacklevel=2)
    return mean, torch.where(constant, 1.0, variance + VARIANCE_EPSILON).sqrt()
