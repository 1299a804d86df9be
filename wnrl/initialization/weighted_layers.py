"""The layers that an initialization sets: dense, bilinear and convolutional ones, plain or under any normalizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from wnrl.normalizers.batch_norm import BatchNorm, BatchNormalized, MeanBatchNormalized, MeanOnlyBatchNorm
from wnrl.normalizers.layer_kinds import WEIGHT_NORM_LAYERS, is_dense, is_without_weight
from wnrl.normalizers.layer_norm import LayerNormalized
from wnrl.normalizers.projection import ProjectedLayer
from wnrl.normalizers.spectral_norm import SpectralNormalized
from wnrl.weight_norm.dense import WeightNormLayer
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.rows import row_norms, rows, scale_rows

_AROUND_A_LAYER = (MeanBatchNormalized, BatchNormalized, LayerNormalized, ProjectedLayer, SpectralNormalized)
_WITH_LENGTHS_OF_ITS_OWN = (ProjectedLayer, SpectralNormalized)


@dataclass(frozen=True)
class WeightedLayer:
    """A dense, bilinear or convolutional layer, with the normalizer around it, if any."""

    name: str
    """The name of `module`, as in `named_modules`."""
    module: nn.Module
    """The layer itself, or the normalizer around it."""
    layer: nn.Module
    """The layer that holds the weight, plain or weight-normalized."""

    def __str__(self) -> str:
        """The name for error messages."""
        return f"layer {self.name!r}" if self.name else "the network itself"

    @property
    def directions(self) -> nn.Parameter:
        """`v`, or the weight of a plain layer."""
        return cast(nn.Parameter, self.layer.v if isinstance(self.layer, WeightNormLayer) else self.layer.weight)

    @property
    def frozen(self) -> bool:
        """Whether the weight (`g` or `v`) requires no gradient."""
        own = self.layer.named_parameters(recurse=False)
        return not all(parameter.requires_grad for name, parameter in own if name != "bias")

    @property
    def channel_dim(self) -> int:
        """The dimension of the units in the layer's output."""
        layer = self.layer
        return (layer if isinstance(layer, WeightNormLayer) else WEIGHT_NORM_LAYERS[type(layer)]).channel_dim

    @property
    def norm(self) -> BatchNorm | MeanOnlyBatchNorm | None:
        """The batch normalization after the layer, which holds its bias; None if there is none."""
        return self.module.norm if isinstance(self.module, (MeanBatchNormalized, BatchNormalized)) else None

    def empty_rows(self, generator: torch.Generator | None) -> Tensor:
        """An empty tensor for the weight's rows `[out, ...]`, in at least float32, on the device of `generator`."""
        like = rows(self.layer, self.directions)
        device = like.device if generator is None else generator.device
        return torch.empty(like.shape, dtype=torch.promote_types(like.dtype, torch.float32), device=device)

    def set_rows(self, directions: Tensor, lengths: Tensor) -> None:
        """Set the rows of the effective weight to these directions `[out, ...]`, stored in `v`, and lengths `[out]`."""
        weight = rows(self.layer, directions.to(self.directions.device))
        if isinstance(self.layer, WeightNormLayer):
            self.layer.v.copy_(weight)
            self.layer.set_lengths(lengths)
        else:
            self.directions.copy_(scale_rows(self.layer, weight, lengths / row_norms(self.layer, weight)))

    def subtract(self, mean: Tensor) -> None:
        """Subtract `mean` `[out]` from w·x, by the bias or by the running mean of the (reset) batch normalization."""
        norm, bias = self.norm, cast("Tensor | None", self.layer.bias)
        if isinstance(norm, BatchNorm):
            norm.reset_parameters()
        if norm is not None:
            norm.bias.zero_()
            norm.running_mean.copy_(mean)
        elif bias is not None:
            bias.copy_(-mean)

    def set_weight_and_bias(self, drawn: Tensor, bias: float) -> None:
        """Set, in place, the rows of the weight `[out, ...]` and all biases; running statistics are reset."""
        weight = rows(self.layer, drawn.to(self.directions.device))
        layer = self.layer if isinstance(self.module, LayerNormalized) else self.module
        if isinstance(layer, NormalizedLayer):
            layer.unfold({"weight": weight.to(self.directions), "bias": weight.new_full((len(drawn),), bias)})
            return
        self.directions.copy_(weight)
        if layer.bias is not None:
            cast(Tensor, layer.bias).fill_(bias)


def weighted_layers(network: nn.Module) -> list[WeightedLayer]:
    """Every dense, bilinear and convolutional layer of `network` once, heads and frozen ones too, in registered order.

    Only exactly torch's types and ours: subclasses, whose forward pass may differ, are left out.

    Raises:
        ValueError: the weight of a layer is computed from other parameters (by a parametrization, by pruning), or has
            no shape yet.
    """
    modules = dict(network.named_modules())
    around = {cast(Any, m).layer: (name, m) for name, m in modules.items() if isinstance(m, _AROUND_A_LAYER)}
    layers = [WeightedLayer(*around.get(m, (name, m)), m) for name, m in modules.items() if _has_weight(m)]
    for layer in layers:
        weight = layer.layer._parameters.get("v" if isinstance(layer.layer, WeightNormLayer) else "weight")
        if weight is None:
            raise ValueError(f"the weight of {layer} is computed from others: remove its parametrization first")
        if isinstance(weight, nn.UninitializedParameter):
            raise ValueError(f"the weight of {layer} has no shape yet: call the network once first")
    return layers


def layers_to_initialize(network: nn.Module) -> list[WeightedLayer]:
    """The weighted layers of `network` that are not frozen.

    Raises:
        ValueError: there are none, or as `weighted_layers`.
    """
    layers = [layer for layer in weighted_layers(network) if not layer.frozen]
    if not layers:
        raise ValueError(
            f"{type(network).__name__} has no dense or convolutional layer to initialize whose weight is not frozen"
        )
    return layers


def check_lengths_are_free(layers: list[WeightedLayer], init: str) -> None:
    """Refuse layers whose normalizer fixes the lengths of the rows, so that the initialization cannot set them.

    Raises:
        ValueError: such a layer.
    """
    for layer in layers:
        if isinstance(layer.module, _WITH_LENGTHS_OF_ITS_OWN):
            raise ValueError(
                f"{init} sets the lengths of rows, but {layer} is a {type(layer.module).__name__}, whose lengths its "
                "method gives: take 'preserve' or 'he', or initialize before normalizing"
            )


def _has_weight(module: nn.Module) -> bool:
    return is_dense(module) or (is_without_weight(module) and isinstance(module, tuple(WEIGHT_NORM_LAYERS)))
