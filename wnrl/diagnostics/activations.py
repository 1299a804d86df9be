"""What the units of a network do in a forward pass, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from wnrl.diagnostics.layers import named_layers
from wnrl.weight_norm.rows import channel_dim

NONLINEARITIES = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid)
"""Modules whose outputs count as activations; what is no module is not seen."""

Seen = Callable[[str, Tensor], Any]  # called with a layer's name and its units' activations [examples, units]


def watch(network: nn.Module, seen: Seen, kinds: tuple[type[nn.Module], ...] = NONLINEARITIES) -> None:
    """Report the activations of each forward pass from now on.

    A nonlinearity belongs to the layer that ran last before it.

    Args:
        network: a copy, to which hooks are attached; compiled code does not call them.
        seen: called at each nonlinearity with the layer's name by `named_layers` and the activations
            `[examples, units]`; the positions of a convolution are examples.
        kinds: of nonlinearities.
    """
    last: list[tuple[str, int]] = []  # the layer that ran last, and the dimension of its units

    def pass_layer(layer: tuple[str, int], module: nn.Module, inputs: Any, output: Any) -> None:
        last[:] = [layer]

    def pass_nonlinearity(module: nn.Module, inputs: Any, output: Tensor) -> None:
        for name, dim in last:
            dim = dim if output.ndim > -dim else -1  # flattened since
            seen(name, output.movedim(dim, -1).flatten(0, -2))

    for name, layer in named_layers(network):
        layer.register_forward_hook(partial(pass_layer, (name, channel_dim(layer))))
    for module in network.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(pass_nonlinearity)
