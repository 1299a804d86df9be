"""Networks that agents learn: torsos (images or vectors to features) and heads (features to values)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class QValues(NamedTuple):
    """What a Q network says of a batch of observations."""

    q_values: Tensor  # [B, A] float32


class NatureCNN(nn.Module):
    """The convolutional torso of Mnih et al. 2015 (Nature 518, methods, "Model architecture").

    Args:
        obs_shape: `(C, H, W)` of one observation; images of at least 36 × 36.
        hidden: width of the fully connected layer.

    `forward` takes uint8 images `[B, C, H, W]`, scales them to [0, 1] and returns features `[B, hidden]`.

    Raises:
        ValueError: the images are too small for the three convolutions.
    """

    def __init__(self, obs_shape: Sequence[int], hidden: int = 512) -> None:
        super().__init__()
        channels, height, width = obs_shape
        positions = _nature_positions(height) * _nature_positions(width)
        if min(height, width) < 36:
            raise ValueError(f"images of {height} x {width} are too small for the Nature network: at least 36 x 36")
        self.out_features = hidden
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 32, kernel_size=8, stride=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, kernel_size=3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * positions, hidden),
            nn.ReLU(),
        )

    def forward(self, obs: Tensor) -> Tensor:
        """Features `[B, hidden]` of uint8 images `[B, C, H, W]`."""
        return self.layers(obs.to(torch.float32, copy=True).mul_(1 / 255))


def _nature_positions(size: int) -> int:
    """Positions along one side of an image after the Nature network's convolutions."""
    return ((size - 8) // 4 + 1 - 4) // 2 + 1 - 2


class MLP(nn.Module):
    """Fully connected layers, each followed by a ReLU.

    Args:
        obs_shape: shape of one observation; it is flattened.
        hidden: widths of the layers, in order.

    `forward` takes `[B, *obs_shape]` and returns features `[B, hidden[-1]]`.
    """

    def __init__(self, obs_shape: Sequence[int], hidden: Sequence[int] = (256, 256)) -> None:
        super().__init__()
        widths = [math.prod(obs_shape), *hidden]
        self.out_features = widths[-1]
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, obs: Tensor) -> Tensor:
        """Features `[B, hidden[-1]]` of observations `[B, *obs_shape]`."""
        return self.layers(obs.float())


class QNetwork(nn.Module):
    """A torso and a linear head with one value per action; the head is always computed in float32.

    Args:
        torso: maps observations `[B, *obs_shape]` to features `[B, torso.out_features]`.
        num_actions: A.
    """

    def __init__(self, torso: NatureCNN | MLP, num_actions: int) -> None:
        super().__init__()
        self.torso = torso
        self.head = nn.Linear(torso.out_features, num_actions)

    def forward(self, obs: Tensor) -> QValues:
        """Q values `[B, A]` of observations `[B, *obs_shape]`."""
        features = self.torso(obs)
        with torch.autocast(features.device.type, enabled=False):
            return QValues(self.head(features.float()))


def q_network(
    obs_shape: Sequence[int],
    num_actions: int,
    *,
    hidden: Sequence[int] = (512,),
    seed: int = 0,
) -> QNetwork:
    """A plain Q network for observations of that shape, its parameters drawn from `seed` alone.

    Args:
        obs_shape: three numbers `(C, H, W)` get the Nature network, anything else a multilayer perceptron.
        num_actions: A.
        hidden: widths of the fully connected layers; the Nature network has exactly one.
        seed: of the initial parameters; the global generators are left as they were.

    Raises:
        ValueError: more than one hidden width for images, or images too small.
    """
    if len(obs_shape) == 3 and len(hidden) != 1:
        raise ValueError(f"the Nature network has one hidden layer, got widths {tuple(hidden)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torso = NatureCNN(obs_shape, hidden[0]) if len(obs_shape) == 3 else MLP(obs_shape, hidden)
        return QNetwork(torso, num_actions)
