"""A module of one's own as the torso of a network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

OwnModule = nn.Module | Callable[[tuple[int, ...]], nn.Module]
"""A module from observations to features, or a function that makes one for observations of that shape."""


class OwnTorso(nn.Module):
    """A torso around any module from observations to features.

    Images are given to it as float32 in [0, 1] `[B, C, H, W]`, other observations as float32 `[B, *obs_shape]`. Its
    output `[B, F]`, or `[B, ...]`, which is flattened, are the features; F is found by a trial.

    Args:
        obs_shape: shape of one observation.
        module: of which a copy is taken, or what makes one.

    Raises:
        TypeError: that is no module.
        ValueError: the module does not take observations of that shape.
    """

    def __init__(self, obs_shape: Sequence[int], module: OwnModule) -> None:
        super().__init__()
        made: object = module
        if isinstance(module, nn.Module):
            made = copy.deepcopy(module)
        elif callable(module):
            made = module(tuple(obs_shape))
        if not isinstance(made, nn.Module):
            raise TypeError(f"network must be a module, or make one from the shape of an observation, got {made!r}")
        self.module = made
        self.out_features = self._trial(obs_shape)

    def forward(self, obs: Tensor) -> Tensor:
        """Features `[B, F]` of observations `[B, *obs_shape]`."""
        scale = 1 / 255 if obs.dtype is torch.uint8 else 1.0
        return self.module(obs.float() * scale).flatten(1)

    def _trial(self, obs_shape: Sequence[int]) -> int:
        """The number of features, by a pass that changes nothing."""
        trial, obs = copy.deepcopy(self.module).eval(), torch.zeros(2, *obs_shape)
        try:
            with torch.no_grad():
                features = trial(obs)
        except RuntimeError as error:
            line = " ".join(str(error).split())
            raise ValueError(f"the network does not take observations of shape {tuple(obs_shape)}: {line}") from error
        if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != 2:
            shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(f"the network must return features [B, F], got {shape} for 2 observations")
        return features.flatten(1).shape[1]
