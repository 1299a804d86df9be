"""A module of one's own as the torso of a network."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

OwnModule = nn.Module | Callable[[tuple[int, ...]], nn.Module]
"""A module from observations to features, or a function that makes one for observations of that shape."""


class OwnTorso(nn.Module):
    """A torso around any module from observations to features.

    Images are given to it as float32 in [0, 1] `[B, C, H, W]`, other observations as float32 `[B, *obs_shape]`. Its
    output `[B, F]`, or `[B, ...]`, which is flattened, are the features; F is found by a trial, and so are the shapes
    of lazy layers.

    Args:
        obs_shape: shape of one observation.
        module: of which a copy is taken, or what makes one.

    Raises:
        TypeError: that is no module.
        ValueError: the module cannot be copied, or does not take observations of that shape.
    """

    def __init__(self, obs_shape: Sequence[int], module: OwnModule) -> None:
        super().__init__()
        made: object = module
        if isinstance(module, nn.Module):
            made = _copied(module)
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
        """The number of features, by a pass that changes nothing but lazy layers, which get their shapes."""
        lazy = any(map(is_lazy, itertools.chain(self.module.parameters(), self.module.buffers())))
        trial, obs = self.module if lazy else copy.deepcopy(self.module), torch.zeros(2, *obs_shape)
        modes = [module.training for module in trial.modules()]
        try:
            with torch.no_grad():
                features = trial.eval()(obs)
        except RuntimeError as error:
            line = " ".join(str(error).split())
            raise ValueError(f"the network does not take observations of shape {tuple(obs_shape)}: {line}") from error
        for module, mode in zip(trial.modules(), modes, strict=True):
            module.training = mode
        if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != 2:
            shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(f"the network must return features [B, F], got {shape} for 2 observations")
        return features.flatten(1).shape[1]


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except ValueError as error:  # of torch, for lazy layers with buffers
        if any(map(is_lazy, module.buffers())):
            raise ValueError(
                "a network with lazy batch norms cannot be copied: give a function that makes it"
            ) from error
        raise
