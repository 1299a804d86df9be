"""Heads: features to values of actions and to distributions of the return; always computed in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wnrl.device import without_autocast


class QValues(NamedTuple):
    """What a Q network says of a batch of observations."""

    q_values: Tensor  # [B, A] float32


class CategoricalValues(NamedTuple):
    """Distributions of the return over fixed atoms."""

    q_values: Tensor  # [B, A] float32, the means
    logits: Tensor  # [B, A, K] float32
    atoms: Tensor  # [K] float32, increasing


class QuantileValues(NamedTuple):
    """Distributions of the return by their quantiles."""

    q_values: Tensor  # [B, A] float32, the means
    quantiles: Tensor  # [B, A, K] float32
    taus: Tensor  # [K] float32, the quantiles' levels; of an implicit distribution [B, K]


def in_float32(layer: nn.Module, features: Tensor) -> Any:
    """What `layer` makes of `features`, computed in float32 even under autocast."""
    with without_autocast(features.device):
        return layer(features.float())


def output_layers(module: nn.Module) -> tuple[nn.Module, ...]:
    """The layers that make the outputs of `module`: those that it names itself, else `module`."""
    return getattr(module, "output_layers", (module,))


class Stream(nn.Sequential):
    """An output layer, after a hidden layer and its ReLU where there is one; it stands for a linear layer.

    Args:
        in_features: size of the features.
        out_features: of the outputs.
        hidden: width of the hidden layer; None for the output layer alone.
        layer: makes a layer from its numbers of inputs and outputs.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        hidden: int | None = 512,
        layer: Callable[[int, int], nn.Module] = nn.Linear,
    ) -> None:
        if hidden is None:
            super().__init__(layer(in_features, out_features))
        else:
            super().__init__(layer(in_features, hidden), nn.ReLU(), layer(hidden, out_features))
        self.in_features, self.out_features = in_features, out_features

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The last layer."""
        return (self[-1],)


class DuelingLayer(nn.Module):
    """V + A − mean A over the actions, from two streams (Wang et al. 2016, equation 9); it stands for a linear layer.

    With K outputs per action the streams are joined for each k alone: before the softmax of a categorical
    distribution, as in Rainbow (Hessel et al. 2018).

    Args:
        in_features: size of the features.
        out_features: A·K, outputs in the order of the actions.
        num_actions: A.
        hidden: width of each stream's own hidden layer; None for streams of one layer.
        layer: makes a layer from its numbers of inputs and outputs.

    Raises:
        ValueError: outputs that are not a multiple of the actions.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        num_actions: int,
        hidden: int | None = 512,
        layer: Callable[[int, int], nn.Module] = nn.Linear,
    ) -> None:
        super().__init__()
        if out_features % num_actions:
            raise ValueError(f"{out_features} outputs are not a multiple of {num_actions} actions")
        self.in_features, self.out_features, self.num_actions = in_features, out_features, num_actions
        self.value = Stream(in_features, out_features // num_actions, hidden=hidden, layer=layer)
        self.advantage = Stream(in_features, out_features, hidden=hidden, layer=layer)

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The last layer of each stream."""
        return self.value[-1], self.advantage[-1]

    def forward(self, features: Tensor) -> Tensor:
        """`[..., in_features]` to `[..., A·K]`."""
        advantage = self.advantage(features).unflatten(-1, (self.num_actions, -1))  # [..., A, K]
        value = self.value(features).unsqueeze(-2)  # [..., 1, K]
        return (value + advantage - advantage.mean(-2, keepdim=True)).flatten(-2)


class Head(nn.Module):
    """Base of the heads: a layer from features to outputs, and `read`, which says what the outputs are.

    Args:
        layer: maps float32 features `[B, F]` to outputs; it is called outside autocast.
        out_features: size of what is decided or valued: A, D, or 1.
    """

    def __init__(self, layer: nn.Module, out_features: int) -> None:
        super().__init__()
        self.layer = layer
        self.out_features = out_features

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The layers that make the outputs."""
        return output_layers(self.layer)

    def forward(self, features: Tensor) -> Any:
        """What `read` makes of features `[B, F]`; further leading dimensions may stand for B."""
        return self.read(in_float32(self.layer, features))

    def read(self, outputs: Tensor) -> Any:
        """What the layer's outputs mean."""
        raise NotImplementedError


class CategoricalHead(Head):
    """Return distributions over K fixed atoms in [v_min, v_max] (Bellemare et al. 2017, C51, section 4).

    Args:
        in_features: F.
        num_actions: A.
        atoms: K.
        v_min: least atom, a return.
        v_max: greatest atom.
        layer: makes the layer from F and A·K, a `DuelingLayer` too.

    Raises:
        ValueError: fewer than two atoms, or `v_min` not under `v_max`.
    """

    atoms: Tensor

    def __init__(
        self,
        in_features: int,
        num_actions: int,
        atoms: int = 51,
        v_min: float = -10.0,
        v_max: float = 10.0,
        layer: Callable[[int, int], nn.Module] = nn.Linear,
    ) -> None:
        if atoms < 2 or v_min >= v_max:
            raise ValueError(f"atoms must be at least 2, v_min under v_max, got {atoms} in [{v_min}, {v_max}]")
        super().__init__(layer(in_features, num_actions * atoms), num_actions)
        self.register_buffer("atoms", torch.linspace(v_min, v_max, atoms))

    def read(self, outputs: Tensor) -> CategoricalValues:
        """Logits, and the means of their distributions."""
        logits = outputs.unflatten(-1, (self.out_features, -1))  # [B, A, K]
        return CategoricalValues((logits.softmax(-1) * self.atoms).sum(-1), logits, self.atoms)


class QuantileHead(Head):
    """Return distributions as K quantiles at the levels (2i + 1)/2K (Dabney et al. 2018, QR-DQN, lemma 2).

    Args:
        in_features: F.
        num_actions: A.
        quantiles: K.
        layer: makes the layer from F and A·K, a `DuelingLayer` too.

    Raises:
        ValueError: no quantile.
    """

    taus: Tensor

    def __init__(
        self,
        in_features: int,
        num_actions: int,
        quantiles: int = 200,
        layer: Callable[[int, int], nn.Module] = nn.Linear,
    ) -> None:
        if quantiles < 1:
            raise ValueError(f"quantiles must be at least 1, got {quantiles}")
        super().__init__(layer(in_features, num_actions * quantiles), num_actions)
        self.register_buffer("taus", (torch.arange(quantiles) + 0.5) / quantiles)

    def read(self, outputs: Tensor) -> QuantileValues:
        """Quantiles, and their means."""
        quantiles = outputs.unflatten(-1, (self.out_features, -1))  # [B, A, K]
        return QuantileValues(quantiles.mean(-1), quantiles, self.taus)
