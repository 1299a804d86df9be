"""Q networks: a torso and a head (see the modules of these names), and what any network is built of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from wnrl.networks.heads import (
    CategoricalHead,
    DuelingLayer,
    Head,
    QuantileHead,
    QValues,
    Stream,
    in_float32,
    output_layers,
)
from wnrl.networks.implicit_quantiles import ImplicitQuantileHead
from wnrl.networks.noisy import NoisyLinear
from wnrl.networks.torsos import MLP, ImpalaCNN, NatureCNN
from wnrl.normalizers.normalize import normalize

TorsoName = Literal["auto", "nature", "impala", "mlp"]
Distribution = Literal["none", "categorical", "quantile", "implicit"]
Activation = Literal["relu", "tanh"]
Layer = Callable[[int, int], nn.Module]  # numbers of inputs and outputs, to a layer


class QNetwork(nn.Module):
    """A torso and a head that values actions; the head is always computed in float32.

    Args:
        torso: maps observations `[B, *obs_shape]` to features `[B, F]`.
        head: a `CategoricalHead`, a `QuantileHead` or an `ImplicitQuantileHead`; or a layer with one output per action
            (`nn.Linear`, `NoisyLinear`, `DuelingLayer`).

    Attribute `num_actions`: A.
    """

    head: Any  # Head, or a layer

    def __init__(self, torso: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.torso = torso
        self.head = head
        self.num_actions: int = self.head.out_features

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The layers that make the outputs."""
        return output_layers(self.head)

    def forward(self, obs: Tensor, taus: Tensor | None = None) -> Any:
        """The head's NamedTuple, which has `q_values` `[B, A]`; `QValues` from a layer.

        Args:
            obs: `[B, *obs_shape]`.
            taus: levels `[B, K]` for an `ImplicitQuantileHead`; None takes the head's own.
        """
        features = self.torso(obs)
        if not isinstance(self.head, Head):
            return QValues(in_float32(self.head, features))
        return self.head(features) if taus is None else self.head(features, taus)


@dataclass(frozen=True)
class Architecture:
    """What a network is made of, beside the widths of its hidden layers.

    Raises:
        ValueError: an unknown name, or numbers of the IMPALA torso for another torso.
    """

    torso: TorsoName = "auto"
    """By name; auto: the Nature network for images (C, H, W), a multilayer perceptron for anything else."""
    width: int = 1
    """Factor on the channels of the IMPALA torso."""
    blocks: int = 2
    """Residual blocks per stage of the IMPALA torso."""
    activation: Activation = "relu"
    """Nonlinearity of the multilayer perceptron; torsos for images have ReLUs."""
    dueling: bool = False
    """Separate streams for the state's value and the actions' advantages."""
    noisy: bool = False
    """Learned noise on every fully connected layer, but not in the embedding of an implicit distribution's levels."""
    distribution: Distribution = "none"
    """Form of the return's distribution: none (its mean), categorical (C51), quantile (QR-DQN) or implicit (IQN)."""
    atoms: int = 51
    """Of a categorical distribution."""
    v_min: float = -10.0
    """Least atom, a return."""
    v_max: float = 10.0
    """Greatest atom, a return."""
    quantiles: int | None = None
    """Of a quantile distribution, or of an implicit one where no levels are given; None takes 200, or 32."""
    cosines: int = 64
    """In the embedding of an implicit distribution's levels."""

    def __post_init__(self) -> None:
        for name, kind in (("torso", TorsoName), ("activation", Activation), ("distribution", Distribution)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}")
        if self.torso != "impala" and (self.width, self.blocks) != (1, 2):
            raise ValueError(f"width {self.width}, blocks {self.blocks}: numbers of torso impala, got {self.torso!r}")

    @property
    def layer(self) -> Layer:
        """What makes a fully connected layer."""
        return NoisyLinear if self.noisy else nn.Linear

    @property
    def hidden_in_head(self) -> bool:
        """Whether the last hidden layer stands in a Q network's head."""
        return self.dueling or self.distribution == "implicit"

    def takes_images(self, obs_shape: Sequence[int]) -> bool:
        """Whether the torso for observations of that shape is one for images."""
        return self.torso in ("nature", "impala") or (self.torso == "auto" and len(obs_shape) == 3)


PLAIN = Architecture()


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
    """A Q network for observations of that shape, its parameters drawn from `seed` alone and then normalized.

    Args:
        obs_shape: of one observation.
        num_actions: A.
        hidden: widths of the fully connected layers; torsos for images have exactly one. The last of these layers
            stands in each of the dueling streams (Wang et al. 2016, figure 1), or behind the product with an implicit
            distribution's levels (Dabney et al. 2018, IQN, figure 1), not in the torso.
        architecture: everything else that the network is made of.
        norm: the normalizer's name.
        seed: of the initial parameters; the global generators are left as they were.
        options: further arguments of `wnrl.normalize`.

    Raises:
        ValueError: more or less than one hidden width for images, images too small or with tanh, unknown normalizer.
    """
    with seeded(seed):
        network = draw_q_network(obs_shape, num_actions, hidden, architecture)
    normalize(network, norm, **options)
    return network


def draw_q_network(
    obs_shape: Sequence[int], num_actions: int, hidden: Sequence[int], architecture: Architecture
) -> QNetwork:
    """As `q_network`, not normalized, its parameters drawn from the global generator."""
    torso = make_torso(obs_shape, hidden, architecture, last=not architecture.hidden_in_head)
    return QNetwork(torso, _head(torso.out_features, num_actions, hidden[-1] if hidden else None, architecture))


def make_torso(
    obs_shape: Sequence[int], hidden: Sequence[int], architecture: Architecture, last: bool = True
) -> NatureCNN | ImpalaCNN | MLP:
    """A torso for observations of that shape.

    Args:
        obs_shape: of one observation.
        hidden: widths of the fully connected layers; torsos for images have exactly one.
        architecture: what the torso is made of.
        last: whether the last hidden layer stands in the torso.

    Raises:
        ValueError: more or less than one hidden width for images, images too small or with tanh.
    """
    layer = architecture.layer
    if not architecture.takes_images(obs_shape):
        activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[architecture.activation]
        return MLP(obs_shape, hidden if last else hidden[:-1], layer, activation)
    _check_image_torso(hidden, architecture)
    width = hidden[0] if last else None
    if architecture.torso == "impala":
        return ImpalaCNN(obs_shape, width, width=architecture.width, blocks=architecture.blocks, layer=layer)
    return NatureCNN(obs_shape, width, layer)


def normalize_each(network: nn.Module, parts: Iterable[nn.Module], norm: str, **options: Any) -> None:
    """`wnrl.normalize` for a network of parts that stand beside each other, in place.

    A normalizer that takes the last hidden layer of a network alone takes that of each part.

    Args:
        network: holds the parts and nothing else to normalize.
        parts: from the observations to outputs.
        norm: the normalizer's name.
        options: further arguments of `wnrl.normalize`; `layers` are names in `network`.

    Raises:
        ValueError: as `wnrl.normalize`.
    """
    for part in parts if options.get("layers") is None else [network]:
        normalize(part, norm, **options)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, the CPU's global generator starts from `seed`; afterwards it is as it was, and so is any other."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would set those of other devices too
        yield


def _check_image_torso(hidden: Sequence[int], architecture: Architecture) -> None:
    if len(hidden) != 1:
        raise ValueError(f"a torso for images has one hidden layer, got widths {tuple(hidden)}")
    if architecture.activation != "relu":
        raise ValueError(f"a torso for images has ReLUs, got activation {architecture.activation!r}")


def _head(features: int, num_actions: int, hidden: int | None, architecture: Architecture) -> nn.Module:
    layer = architecture.layer
    if architecture.dueling:
        layer = partial(DuelingLayer, num_actions=num_actions, hidden=hidden, layer=layer)
    elif architecture.hidden_in_head:
        layer = partial(Stream, hidden=hidden, layer=layer)
    quantiles = {} if architecture.quantiles is None else {"quantiles": architecture.quantiles}
    if architecture.distribution == "categorical":
        atoms, v_min, v_max = architecture.atoms, architecture.v_min, architecture.v_max
        return CategoricalHead(features, num_actions, atoms, v_min, v_max, layer)
    if architecture.distribution == "quantile":
        return QuantileHead(features, num_actions, layer=layer, **quantiles)
    if architecture.distribution == "implicit":
        return ImplicitQuantileHead(features, num_actions, architecture.cosines, layer=layer, **quantiles)
    return layer(features, num_actions)
