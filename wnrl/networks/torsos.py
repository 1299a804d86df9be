"""Torsos: from observations, uint8 images or vectors, to features."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as torch_modules

from wnrl.device import autocast_dtype
from wnrl.networks.space_to_depth import SpaceToDepthConv2d

NATURE_LEAST = 36
"""The least side of images that the Nature network takes."""

# `computes_in_autocast_dtype` marks torsos for `fold`: autocast casts all their weights (heads compute in float32),
# so a folded copy may store them in that dtype. `computes_channels_last` marks those whose convolutions take and return
# channels-last images on CUDA, where their weights may then have that order in memory too.


class NatureCNN(nn.Module):
    """The convolutional torso of Mnih et al. 2015 (Nature 518, methods, "Model architecture").

    Args:
        obs_shape: `(C, H, W)` of one observation, at least 36 × 36.
        hidden: width of the fully connected layer; None: no such layer, the features are the flattened convolutions.
        layer: makes the fully connected layer from its numbers of inputs and outputs.

    `forward` takes uint8 images `[B, C, H, W]`, scales them to [0, 1] and returns features `[B, out_features]`.

    Raises:
        ValueError: observations that are not images, or too small for the three convolutions.
    """

    computes_in_autocast_dtype = True
    computes_channels_last = True

    def __init__(
        self, obs_shape: Sequence[int], hidden: int | None = 512, layer: Callable[[int, int], nn.Module] = nn.Linear
    ) -> None:
        super().__init__()
        _check_obs_shape(obs_shape, least=NATURE_LEAST, name="Nature")
        self.obs_shape = tuple(obs_shape)
        channels, *sides = obs_shape
        positions = math.prod(((side - 8) // 4 + 1 - 4) // 2 + 1 - 2 for side in sides)
        convolutions = [
            SpaceToDepthConv2d(channels, 32, kernel_size=8, stride=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, kernel_size=3),
            nn.ReLU(),
        ]
        self.out_features = 64 * positions if hidden is None else hidden
        self.layers = nn.Sequential(*convolutions, nn.Flatten(), *_fully_connected(64 * positions, hidden, layer))

    def forward(self, obs: Tensor) -> Tensor:
        """Features `[B, out_features]` of uint8 images `[B, C, H, W]`."""
        learns_in_float32 = torch.is_grad_enabled() and autocast_dtype(obs.device) is None
        return self.layers(_scaled(obs, self.obs_shape, channels_last=obs.is_cuda or learns_in_float32))


class MinAtarCNN(nn.Module):
    """The convolutional torso of Young & Tian 2019 (MinAtar), for small images.

    Args:
        obs_shape: `(C, H, W)` of one observation, at least 3 × 3.
        hidden: width of the fully connected layer; None: no such layer, the features are the flattened convolution.
        layer: makes the fully connected layer from its numbers of inputs and outputs.

    `forward` takes uint8 images `[B, C, H, W]`, scales them to [0, 1] and returns features `[B, out_features]`.

    Raises:
        ValueError: observations that are not images, or too small for the convolution.
    """

    computes_in_autocast_dtype = True

    def __init__(
        self, obs_shape: Sequence[int], hidden: int | None = 128, layer: Callable[[int, int], nn.Module] = nn.Linear
    ) -> None:
        super().__init__()
        _check_obs_shape(obs_shape, least=3, name="MinAtar")
        self.obs_shape = tuple(obs_shape)
        channels, height, width = obs_shape
        flat = 16 * (height - 2) * (width - 2)
        self.out_features = flat if hidden is None else hidden
        convolution = [nn.Conv2d(channels, 16, kernel_size=3), nn.ReLU(), nn.Flatten()]
        self.layers = nn.Sequential(*convolution, *_fully_connected(flat, hidden, layer))

    def forward(self, obs: Tensor) -> Tensor:
        """Features `[B, out_features]` of uint8 images `[B, C, H, W]`."""
        return self.layers(_scaled(obs, self.obs_shape, channels_last=False))


class ImpalaCNN(nn.Module):
    """The residual torso of Espeholt et al. 2018 (IMPALA, figure 3, right).

    A stage is a 3 × 3 convolution, a 3 × 3 max-pooling of stride 2 (a side of n becomes ⌈n/2⌉) and residual blocks.

    Args:
        obs_shape: `(C, H, W)` of one observation; H and W at least 2 to the power of the number of stages, 8.
        hidden: width of the fully connected layer; None: no such layer, the features are the flattened last stage.
        channels: of each stage, in order.
        width: factor on the channels.
        blocks: residual blocks per stage.
        pool: height and width to which the last stage is max-pooled, as in BTR (Clark et al. 2024); 0: it is not.
        layer: makes the fully connected layer from its numbers of inputs and outputs.

    `forward` takes uint8 images `[B, C, H, W]`, scales them to [0, 1] and returns features `[B, out_features]`.

    Raises:
        ValueError: observations that are not images or too small for the stages, `width` or `blocks` below 1, or `pool`
            below 0.
    """

    computes_in_autocast_dtype = True
    computes_channels_last = True

    def __init__(
        self,
        obs_shape: Sequence[int],
        hidden: int | None = 256,
        channels: Sequence[int] = (16, 32, 32),
        width: int = 1,
        blocks: int = 2,
        pool: int = 0,
        layer: Callable[[int, int], nn.Module] = nn.Linear,
    ) -> None:
        super().__init__()
        _check_obs_shape(obs_shape, least=2 ** len(channels), name="IMPALA")
        if min(width, blocks) < 1:
            raise ValueError(f"width and blocks must be at least 1, got width {width} and blocks {blocks}")
        if pool < 0:
            raise ValueError(f"pool must not be negative, got {pool}")
        self.obs_shape = tuple(obs_shape)
        channels = [obs_shape[0], *(width * count for count in channels)]
        stages = [_stage(before, after, blocks) for before, after in itertools.pairwise(channels)]
        sides = [pool or -(-side // 2 ** len(stages)) for side in obs_shape[1:]]
        flat = channels[-1] * math.prod(sides)
        self.out_features = flat if hidden is None else hidden
        pooling = [nn.AdaptiveMaxPool2d(pool)] if pool else []
        self.layers = nn.Sequential(
            *itertools.chain(*stages), nn.ReLU(), *pooling, nn.Flatten(), *_fully_connected(flat, hidden, layer)
        )

    @property
    def linear_layers(self) -> tuple[nn.Module, ...]:
        """The layers that are not directly followed by a ReLU: the first convolution of each stage."""
        return tuple(layer for layer, after in itertools.pairwise(self.layers) if isinstance(after, nn.MaxPool2d))

    def forward(self, obs: Tensor) -> Tensor:
        """Features `[B, out_features]` of uint8 images `[B, C, H, W]`."""
        return self.layers(_scaled(obs, self.obs_shape, channels_last=True))


class ResidualBlock(nn.Module):
    """x + conv2(relu(conv1(relu(x)))), with 3 × 3 convolutions that keep the shape `[B, channels, H, W]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    @property
    def branch_output(self) -> nn.Module:
        """The last layer of the residual branch."""
        return self.conv2

    @property
    def residual_layers(self) -> tuple[nn.Module, ...]:
        """The layers of the residual branch."""
        return self.conv1, self.conv2

    def forward(self, x: Tensor) -> Tensor:
        """`[B, channels, H, W]` to the same shape."""
        return x + self.conv2(self.relu2(self.conv1(self.relu1(x))))


class MLP(nn.Module):
    """A multilayer perceptron: fully connected layers, each followed by a nonlinearity.

    Args:
        obs_shape: shape of one observation, which is flattened.
        hidden: widths of the layers, in order.
        layer: makes a layer from its numbers of inputs and outputs.
        activation: makes a nonlinearity.

    `forward` takes `[B, *obs_shape]` and returns features `[B, out_features]`.
    """

    computes_in_autocast_dtype = True

    def __init__(
        self,
        obs_shape: Sequence[int],
        hidden: Sequence[int] = (256, 256),
        layer: Callable[[int, int], nn.Module] = nn.Linear,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        widths = [math.prod(obs_shape), *hidden]
        self.out_features = widths[-1]
        pairs = (_fully_connected(inputs, outputs, layer, activation) for inputs, outputs in itertools.pairwise(widths))
        self.layers = nn.Sequential(nn.Flatten(), *itertools.chain(*pairs))

    @property
    def dense_layers(self) -> tuple[nn.Module, ...]:
        """The layers, with the nonlinearities between them."""
        return tuple(self.layers)

    def forward(self, obs: Tensor) -> Tensor:
        """Features `[B, out_features]` of observations `[B, *obs_shape]`."""
        return pass_dense(self.layers, obs.float())


def pass_dense(layers: nn.Sequential, x: Tensor) -> Tensor:
    """`layers(x)`; without gradients, of plain layers without hooks, without the calls of modules.

    For a few observations these take as long as the products. `x` is `[B, n]` or `[B, ...]` before an `nn.Flatten`.
    """
    modules = layers._modules.values()
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing() or type(x) is not Tensor:
        return layers(x)
    hooks = torch_modules._global_forward_hooks or torch_modules._global_forward_pre_hooks
    if hooks or layers._forward_hooks or layers._forward_pre_hooks or "forward" in layers.__dict__:
        return layers(x)
    if type(layers) is not nn.Sequential or not all(map(_is_direct, modules)):
        return layers(x)
    own = False
    for module in modules:
        kind, parameters = type(module), cast(Any, module._parameters)
        if kind is nn.Linear:
            x, own = F.linear(x, parameters["weight"], parameters["bias"]), True
        elif kind is nn.Flatten:
            x = x if x.ndim == 2 else x.flatten(1)
        elif kind is nn.ReLU:
            x = x.relu_() if own else x.relu()
        else:
            x = x.tanh_() if own else x.tanh()
    return x


def _is_direct(module: nn.Module) -> bool:
    """Whether `pass_dense` knows what a call of the module computes."""
    attributes, kind = module.__dict__, type(module)
    if attributes["_forward_hooks"] or attributes["_forward_pre_hooks"] or "forward" in attributes:
        return False
    if kind is nn.Linear:
        return len(attributes["_parameters"]) == 2 and "weight" in attributes["_parameters"]  # and the bias: not pruned
    return kind in (nn.ReLU, nn.Tanh) or (kind is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1))


def _stage(before: int, after: int, blocks: int) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, kernel_size=3, padding=1)
    pooling = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
    return [convolution, pooling, *(ResidualBlock(after) for _ in range(blocks))]


def _fully_connected(
    inputs: int,
    outputs: int | None,
    layer: Callable[[int, int], nn.Module],
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> list[nn.Module]:
    return [] if outputs is None else [layer(inputs, outputs), activation()]


def _check_obs_shape(obs_shape: Sequence[int], least: int, name: str) -> None:
    if len(obs_shape) != 3:
        raise ValueError(f"the {name} network takes images (C, H, W), got observations of shape {tuple(obs_shape)}")
    _, height, width = obs_shape
    if min(height, width) < least:
        raise ValueError(
            f"images of {height} x {width} are too small for the {name} network: at least {least} x {least}"
        )


def _scaled(obs: Tensor, obs_shape: tuple[int, ...], channels_last: bool) -> Tensor:
    """Images `[B, C, H, W]` scaled to [0, 1], in autocast's dtype; bfloat16 represents all of 0 … 255 exactly.

    Args:
        obs: uint8 images `[B, C, H, W]`.
        obs_shape: the expected `(C, H, W)`.
        channels_last: memory format on a CPU and on CUDA, which the convolutions after it then keep.
    """
    if obs.dtype is not torch.uint8 or obs.shape[1:] != obs_shape:
        raise ValueError(f"images must be uint8 [B, {str(obs_shape)[1:-1]}], got {obs.dtype} {list(obs.shape)}")
    order = torch.channels_last if channels_last and obs.device.type in ("cpu", "cuda") else torch.preserve_format
    return obs.to(autocast_dtype(obs.device) or torch.float32, memory_format=order).mul_(1 / 255)
