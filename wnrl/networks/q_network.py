"""Q networks: a torso, and a head that gives action values or return distributions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wnrl.device import without_autocast
from wnrl.networks.architecture import PLAIN, Architecture, make_torso, normalize_each, seeded
from wnrl.networks.heads import (
    CategoricalHead,
    DuelingLayer,
    Head,
    HeadMLP,
    QuantileHead,
    QValues,
    SharedBiasLinear,
    output_layers,
)
from wnrl.networks.implicit_quantiles import ImplicitQuantileHead
from wnrl.networks.scale_gradient import scale_gradient
from wnrl.weight_norm.formed_weights import FormedWeights


class QNetwork(nn.Module):
    """A torso and a head of action values; the head is always computed in float32.

    Args:
        torso: maps observations `[B, *obs_shape]` to features `[B, F]`.
        head: a `CategoricalHead`, a `QuantileHead` or an `ImplicitQuantileHead`; or a layer with one output per action
            (`nn.Linear`, `NoisyLinear`, `DuelingLayer`, `SharedBiasLinear`).
        gradient_scale: factor on the gradient from the head to the torso; 1/√2 in Wang et al. 2016, section 4.2.

    Attribute `num_actions`: A.
    """

    head: Any  # a Head, or a layer

    def __init__(self, torso: nn.Module, head: nn.Module, gradient_scale: float = 1.0) -> None:
        super().__init__()
        self.gradient_scale = gradient_scale
        self.torso = torso
        self.head = head
        self.num_actions: int = self.head.out_features

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The layers that compute the outputs."""
        return output_layers(self.head)

    def forward(self, obs: Tensor, taus: Tensor | None = None) -> Any:
        """The head's NamedTuple, which has `q_values` `[B, A]`; `QValues` where the head is a layer.

        Args:
            obs: `[B, *obs_shape]`.
            taus: levels `[B, K]` for an `ImplicitQuantileHead`; None takes the head's own.
        """
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._outputs(obs, taus)
        with FormedWeights((*getattr(self.torso, "dense_layers", ()), *self.output_layers)):
            return self._outputs(obs, taus)

    def _outputs(self, obs: Tensor, taus: Tensor | None) -> Any:
        features = self.torso(obs)
        if self.gradient_scale != 1:
            features = scale_gradient(features, self.gradient_scale)
        if isinstance(self.head, Head):
            return self.head(features) if taus is None else self.head(features, taus)
        with without_autocast(features.device):
            return QValues(self.head(features.float()))


def q_network(
    obs_shape: Sequence[int],
    num_actions: int,
    *,
    hidden: Sequence[int] = (512,),
    architecture: Architecture = PLAIN,
    norm: str = "none",
    seed: int = 0,
    **options: Any,
) -> QNetwork:
    """A Q network for observations of shape `obs_shape`, its parameters drawn from `seed` alone and then normalized.

    Args:
        obs_shape: shape of one observation.
        num_actions: A.
        hidden: widths of the fully connected layers; torsos for images have exactly one. The last of these layers is
            not in the torso but in each of the dueling streams (Wang et al. 2016, figure 1), or after the product with
            the embedded levels of an implicit distribution (Dabney et al. 2018, IQN, figure 1).
        architecture: what else the network is made of.
        norm: name of the normalizer.
        seed: of the initial parameters; the global generators are not changed.
        options: further arguments of `normalize_each`.

    Raises:
        ValueError: more or less than one hidden width for images, images that are too small or with tanh, or an
            unknown normalizer.
    """
    with seeded(seed):
        network = draw_q_network(obs_shape, num_actions, hidden, architecture)
    normalize_each(network, [network], norm, **options)
    return network


def draw_q_network(
    obs_shape: Sequence[int], num_actions: int, hidden: Sequence[int], architecture: Architecture
) -> QNetwork:
    """As `q_network`, but not normalized, its parameters drawn from the global generator."""
    torso = make_torso(obs_shape, hidden, architecture, last=not architecture.hidden_in_head)
    head = _head(torso.out_features, num_actions, hidden[-1] if hidden else None, architecture)
    return QNetwork(torso, head, architecture.gradient_scale)


def _head(features: int, num_actions: int, hidden: int | None, architecture: Architecture) -> nn.Module:
    layer = architecture.layer
    if architecture.dueling:
        layer = partial(DuelingLayer, num_actions=num_actions, hidden=hidden, layer=layer)
    elif architecture.hidden_in_head:
        layer = partial(HeadMLP, hidden=hidden, layer=layer)
    quantiles = {} if architecture.quantiles is None else {"quantiles": architecture.quantiles}
    if architecture.distribution == "categorical":
        atoms, v_min, v_max = architecture.atoms, architecture.v_min, architecture.v_max
        return CategoricalHead(features, num_actions, atoms, v_min, v_max, layer)
    if architecture.distribution == "quantile":
        return QuantileHead(features, num_actions, layer=layer, **quantiles)
    if architecture.distribution == "implicit":
        return ImplicitQuantileHead(features, num_actions, architecture.cosines, layer=layer, **quantiles)
    return SharedBiasLinear(features, num_actions) if architecture.shared_bias else layer(features, num_actions)
