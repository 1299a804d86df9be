"""Heads: from features to action values and return distributions, always computed in float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wnrl.device import without_autocast


class GreedyPolicy(NamedTuple):
    """The policy that takes the action of highest value; B may be several leading dimensions."""

    q_values: Tensor  # [B, A] float32

    @property
    def num_actions(self) -> int:
        """A."""
        return self.q_values.shape[-1]

    def mode(self) -> Tensor:
        """The actions of highest value `[B]` int64."""
        return self.q_values.argmax(-1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """The same as `mode`: a greedy policy is deterministic."""
        return self.mode()


class QValues(NamedTuple):
    """The outputs of a Q network for a batch of observations."""

    q_values: Tensor  # [B, A] float32

    @property
    def policy(self) -> GreedyPolicy:
        """The greedy policy."""
        return GreedyPolicy(self.q_values)


class CategoricalValues(NamedTuple):
    """Return distributions over fixed atoms."""

    q_values: Tensor  # [B, A] float32, the means
    logits: Tensor  # [B, A, K] float32
    atoms: Tensor  # [K] float32, increasing

    @property
    def policy(self) -> GreedyPolicy:
        """The greedy policy."""
        return GreedyPolicy(self.q_values)


class QuantileValues(NamedTuple):
    """Return distributions given by quantiles."""

    q_values: Tensor  # [B, A] float32, the means
    quantiles: Tensor  # [B, A, K] float32
    taus: Tensor  # [K] float32, levels of the quantiles; [B, K] for an implicit distribution

    @property
    def policy(self) -> GreedyPolicy:
        """The greedy policy."""
        return GreedyPolicy(self.q_values)


def output_layers(module: nn.Module) -> tuple[nn.Module, ...]:
    """The output layers of `module`: its attribute `output_layers` if it has one, else `module` itself."""
    return getattr(module, "output_layers", (module,))


class HeadMLP(nn.Sequential):
    """A perceptron of one hidden layer and its ReLU, or of none, in place of a head's linear layer.

    Args:
        in_features: size of the features.
        out_features: size of the outputs.
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


class SharedBiasLinear(nn.Module):
    """A linear layer whose outputs share one bias (van Hasselt et al. 2016, tuned Double DQN).

    Args:
        in_features: size of the features.
        out_features: A.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.linear = nn.Linear(in_features, out_features, bias=False)
        bound = 1 / math.sqrt(in_features)  # as for the biases of nn.Linear
        self.shared_bias = nn.Parameter(torch.empty(1).uniform_(-bound, bound))

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The layer before the bias is added."""
        return (self.linear,)

    def forward(self, features: Tensor) -> Tensor:
        """`[..., in_features]` to `[..., out_features]`."""
        return self.linear(features) + self.shared_bias


class DuelingLayer(nn.Module):
    """V + A − mean A over the actions, from two streams (Wang et al. 2016, equation 9), in place of a linear layer.

    With K outputs per action the streams are combined separately for each k: for a categorical distribution before the
    softmax, as in Rainbow (Hessel et al. 2018).

    Args:
        in_features: size of the features.
        out_features: A·K, action by action.
        num_actions: A.
        hidden: width of the hidden layer of each stream; None for streams of one layer.
        layer: makes a layer from its numbers of inputs and outputs.

    Raises:
        ValueError: `out_features` is not a multiple of `num_actions`.
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
        self.value = HeadMLP(in_features, out_features // num_actions, hidden=hidden, layer=layer)
        self.advantage = HeadMLP(in_features, out_features, hidden=hidden, layer=layer)

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
    """Base class of heads: a layer from features to outputs, and `read`, which interprets the outputs.

    Args:
        layer: maps float32 features `[B, F]` to outputs; it is called without autocast.
        out_features: number of actions A, numbers in an action D, or 1 for the value of a state.
    """

    def __init__(self, layer: nn.Module, out_features: int) -> None:
        super().__init__()
        self.layer = layer
        self.out_features = out_features

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The layers that compute the outputs."""
        return output_layers(self.layer)

    def forward(self, features: Tensor) -> Any:
        """The outputs for features `[B, F]` of any float dtype; B may be several leading dimensions."""
        with without_autocast(features.device):
            outputs = self.layer(features.float())
        return self.read(outputs)

    def read(self, outputs: Tensor) -> Any:
        """Interpret the outputs of `layer`."""
        raise NotImplementedError


class CategoricalHead(Head):
    """Return distributions over K fixed atoms in [v_min, v_max] (Bellemare et al. 2017, C51, section 4).

    Args:
        in_features: F.
        num_actions: A.
        atoms: K.
        v_min: lowest atom, a return.
        v_max: highest atom.
        layer: makes the layer from F and A·K; may make a `DuelingLayer`.

    Raises:
        ValueError: fewer than two atoms, or `v_min` not below `v_max`.
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
        """The distributions whose logits are the outputs `[B, A·K]`."""
        logits = outputs.unflatten(-1, (self.out_features, -1))  # [B, A, K]
        return CategoricalValues((logits.softmax(-1) * self.atoms).sum(-1), logits, self.atoms)


class QuantileHead(Head):
    """Return distributions as K quantiles at the levels (2i + 1)/2K (Dabney et al. 2018, QR-DQN, lemma 2).

    Args:
        in_features: F.
        num_actions: A.
        quantiles: K.
        layer: makes the layer from F and A·K; may make a `DuelingLayer`.

    Raises:
        ValueError: `quantiles` is below 1.
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
        """The distributions whose quantiles are the outputs `[B, A·K]`."""
        quantiles = outputs.unflatten(-1, (self.out_features, -1))  # [B, A, K]
        return QuantileValues(quantiles.mean(-1), quantiles, self.taus)
