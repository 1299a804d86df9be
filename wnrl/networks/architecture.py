"""What a network is made of: torso, layers and distribution by name; seeded drawing and normalizing of its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from wnrl.networks.noisy import NoisyLinear
from wnrl.networks.torsos import MLP, ImpalaCNN, NatureCNN
from wnrl.normalizers.normalize import normalize

TorsoName = Literal["auto", "nature", "impala", "mlp"]
Distribution = Literal["none", "categorical", "quantile", "implicit"]
Activation = Literal["relu", "tanh"]
Layer = Callable[[int, int], nn.Module]  # makes a layer from its numbers of inputs and outputs


@dataclass(frozen=True)
class Architecture:
    """What a network is made of, apart from the widths of its hidden layers.

    Raises:
        ValueError: an unknown name, or a width or number of blocks for another torso than IMPALA.
    """

    torso: TorsoName = "auto"
    """Name of the torso; auto: the Nature network for images (C, H, W), a multilayer perceptron for anything else."""
    width: int = 1
    """Factor on the channels of the IMPALA torso."""
    blocks: int = 2
    """Residual blocks per stage of the IMPALA torso."""
    activation: Activation = "relu"
    """Nonlinearity of the multilayer perceptron; torsos for images have ReLUs."""
    dueling: bool = False
    """Separate streams for the state's value and the actions' advantages."""
    noisy: bool = False
    """Noisy layers instead of linear ones, except in the embedding of an implicit distribution's levels."""
    distribution: Distribution = "none"
    """Form of the return distribution: none (its mean), categorical (C51), quantile (QR-DQN) or implicit (IQN)."""
    atoms: int = 51
    """Atoms of a categorical distribution."""
    v_min: float = -10.0
    """Lowest atom, a return."""
    v_max: float = 10.0
    """Highest atom, a return."""
    quantiles: int | None = None
    """Quantiles of a quantile distribution, or of an implicit one where no levels are given; None: 200, or 32."""
    cosines: int = 64
    """Size of the embedding of an implicit distribution's levels."""

    def __post_init__(self) -> None:
        for name, kind in (("torso", TorsoName), ("activation", Activation), ("distribution", Distribution)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}")
        if self.torso != "impala" and (self.width, self.blocks) != (1, 2):
            raise ValueError(f"width {self.width}, blocks {self.blocks}: numbers of torso impala, got {self.torso!r}")

    @property
    def layer(self) -> Layer:
        """Makes a fully connected layer."""
        return NoisyLinear if self.noisy else nn.Linear

    @property
    def hidden_in_head(self) -> bool:
        """Whether the last hidden layer of a Q network is part of its head."""
        return self.dueling or self.distribution == "implicit"

    def takes_images(self, obs_shape: Sequence[int]) -> bool:
        """Whether the torso for observations of shape `obs_shape` is one for images."""
        return self.torso in ("nature", "impala") or (self.torso == "auto" and len(obs_shape) == 3)


PLAIN = Architecture()


def make_torso(
    obs_shape: Sequence[int], hidden: Sequence[int], architecture: Architecture, last: bool = True
) -> NatureCNN | ImpalaCNN | MLP:
    """A torso for observations of shape `obs_shape`, its parameters drawn from the global generator.

    Args:
        obs_shape: shape of one observation.
        hidden: widths of the fully connected layers; torsos for images have exactly one.
        architecture: what the torso is made of.
        last: whether the last hidden layer is part of the torso.

    Raises:
        ValueError: more or less than one hidden width for images, or images that are too small or with tanh.
    """
    layer = architecture.layer
    if not architecture.takes_images(obs_shape):
        activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[architecture.activation]
        return MLP(obs_shape, hidden if last else hidden[:-1], layer, activation)
    if len(hidden) != 1:
        raise ValueError(f"a torso for images has one hidden layer, got widths {tuple(hidden)}")
    if architecture.activation != "relu":
        raise ValueError(f"a torso for images has ReLUs, got activation {architecture.activation!r}")
    width = hidden[0] if last else None
    if architecture.torso == "impala":
        return ImpalaCNN(obs_shape, width, width=architecture.width, blocks=architecture.blocks, layer=layer)
    return NatureCNN(obs_shape, width, layer)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A context in which the CPU's global generator starts from `seed`; its state is restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed those of other devices too
        yield


def normalize_each(network: nn.Module, parts: Iterable[nn.Module], norm: str, **options: Any) -> None:
    """Apply `wnrl.normalize` to each part of a network that has several, in place.

    A normalizer of the last hidden layer only is thus applied to the last hidden layer of each part.

    Args:
        network: contains the parts, and nothing else to normalize.
        parts: each leads from observations to outputs.
        norm: name of the normalizer.
        options: further arguments of `wnrl.normalize`; the names in `layers` are those of `network`.

    Raises:
        ValueError: as `wnrl.normalize`.
    """
    for part in parts if options.get("layers") is None else [network]:
        normalize(part, norm, **options)
