"""What a network is made of: torso, layers and distribution by name; seeded drawing and normalizing of its parts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from wnrl.networks.noisy import NoisyLinear
from wnrl.networks.own_torso import OwnModule, OwnTorso
from wnrl.networks.torsos import MLP, NATURE_LEAST, ImpalaCNN, MinAtarCNN, NatureCNN
from wnrl.normalizers.normalize import normalize

TorsoName = Literal["auto", "nature", "impala", "minatar", "mlp"]
Distribution = Literal["none", "categorical", "quantile", "implicit"]
Activation = Literal["relu", "tanh"]
NormLayers = Literal["auto", "residual"]
Layer = Callable[[int, int], nn.Module]  # makes a layer from its numbers of inputs and outputs


@dataclass(frozen=True)
class Architecture:
    """What a network is made of, apart from the widths of its hidden layers.

    Raises:
        ValueError: an unknown name, numbers of the IMPALA torso for another one, or `shared_bias` without a plain
            output layer.
    """

    torso: TorsoName = "auto"
    """Name of the torso; auto: for images (C, H, W) the Nature network, or MinAtar's where a side is below 36, and a
    multilayer perceptron for anything else."""
    width: int = 1
    """Factor on the channels of the IMPALA torso."""
    blocks: int = 2
    """Residual blocks per stage of the IMPALA torso."""
    pool: int = 0
    """Height and width to which the IMPALA torso is max-pooled at its end; 0: it is not."""
    activation: Activation = "relu"
    """Nonlinearity of the multilayer perceptron; torsos for images have ReLUs."""
    dueling: bool = False
    """Separate streams for the state's value and the actions' advantages."""
    gradient_scale: float = 1.0
    """Factor on the gradient that a Q network's head sends into its torso."""
    shared_bias: bool = False
    """One bias for all action values of a linear output layer."""
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
    own: OwnModule | None = None
    """A module of one's own, or what makes it, instead of a torso by name; see `OwnTorso`."""

    def __post_init__(self) -> None:
        for name, kind in (("torso", TorsoName), ("activation", Activation), ("distribution", Distribution)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}")
        if self.torso != "impala" and (self.width, self.blocks, self.pool) != (1, 2, 0):
            numbers = f"width {self.width}, blocks {self.blocks}, pool {self.pool}"
            raise ValueError(f"{numbers}: numbers of torso impala, got {self.torso!r}")
        if self.shared_bias and (self.dueling or self.noisy or self.distribution != "none"):
            raise ValueError("shared_bias is of a plain output layer: leave dueling, noisy and distribution out")

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
        if self.own is not None:
            return len(obs_shape) == 3
        return self.torso in ("nature", "impala", "minatar") or (self.torso == "auto" and len(obs_shape) == 3)


PLAIN = Architecture()
_SEEDED = threading.RLock()


def make_torso(
    obs_shape: Sequence[int], hidden: Sequence[int], architecture: Architecture, last: bool = True
) -> NatureCNN | ImpalaCNN | MinAtarCNN | MLP | OwnTorso:
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
    if architecture.own is not None:
        return OwnTorso(obs_shape, architecture.own)
    if not architecture.takes_images(obs_shape):
        activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[architecture.activation]
        return MLP(obs_shape, hidden if last else hidden[:-1], layer, activation)
    if len(hidden) != 1:
        raise ValueError(f"a torso for images has one hidden layer, got widths {tuple(hidden)}")
    if architecture.activation != "relu":
        raise ValueError(f"a torso for images has ReLUs, got activation {architecture.activation!r}")
    width = hidden[0] if last else None
    if architecture.torso == "impala":
        return ImpalaCNN(
            obs_shape, width, width=architecture.width, blocks=architecture.blocks, pool=architecture.pool, layer=layer
        )
    if architecture.torso == "minatar" or (architecture.torso == "auto" and min(obs_shape[1:]) < NATURE_LEAST):
        return MinAtarCNN(obs_shape, width, layer)
    return NatureCNN(obs_shape, width, layer)


def residual_layers(network: nn.Module) -> list[str]:
    """Names of the layers in residual blocks; raises ValueError where there are none."""
    layers = {layer for module in network.modules() for layer in getattr(module, "residual_layers", ())}
    if not layers:
        raise ValueError("norm_layers residual is for networks with residual blocks: take torso impala")
    return [name for name, module in network.named_modules() if module in layers]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A context in which the CPU's global generator starts from `seed`; its state is restored afterwards.

    One thread at a time is in it, since all of a process share that generator.
    """
    with _SEEDED, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed those of other devices too
        yield


def normalize_each(
    network: nn.Module, parts: Iterable[nn.Module], norm: str, *, norm_layers: NormLayers = "auto", **options: Any
) -> None:
    """Apply `wnrl.normalize` to each part of a network, in place.

    A normalizer of the last hidden layer only is thus applied to the last hidden layer of each part.

    Args:
        network: contains the parts, and nothing else to normalize.
        parts: each leads from observations to outputs.
        norm: name of the normalizer.
        norm_layers: residual takes only the layers of residual blocks, as spectral normalization does in BTR (Clark et
            al. 2024); auto those of the normalizer's source.
        options: further arguments of `wnrl.normalize`; the names in `layers` are those of `network`.

    Raises:
        ValueError: there are no residual blocks, or as `wnrl.normalize`.
    """
    if norm_layers == "residual" and norm != "none":
        options["layers"] = residual_layers(network)
    for part in parts if options.get("layers") is None else [network]:
        normalize(part, norm, **options)
