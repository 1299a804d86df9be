"""The layers that an initialization sets: dense, bilinear and convolutional ones, plain or under any normalizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from wnrl.normalizers.batch_norm import BatchNorm, BatchNormalized, MeanBatchNormalized, MeanOnlyBatchNorm
from wnrl.normalizers.layer_kinds import WEIGHT_NORM_LAYERS, is_dense, is_without_weight
from wnrl.normalizers.projection import ProjectedBeforeBatchNorm, ProjectedLayer, Projection
from wnrl.normalizers.spectral_norm import SpectralNormalized
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.rows import channel_dim, row_norms, rows, scale_rows
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

_WITH_LENGTHS_OF_ITS_OWN = (ProjectedLayer, SpectralNormalized)


@dataclass(frozen=True)
class WeightedLayer:
    """A dense, bilinear or convolutional layer, plain or normalized."""

    name: str
    """Its name, as in `named_modules`."""
    layer: Any

    def __str__(self) -> str:
        """The name for error messages."""
        return f"layer {self.name!r}" if self.name else "the network itself"

    @property
    def directions(self) -> nn.Parameter:
        """`v`, or the weight of a layer without weight normalization."""
        return cast(nn.Parameter, self.layer._parameters[_name_of_weight(self.layer)])

    @property
    def frozen(self) -> bool:
        """Whether the weight (`g` or `v`) requires no gradient."""
        own = self.layer.pair() if isinstance(self.layer, WeightNormLayer) else (self.directions,)
        return not all(parameter.requires_grad for parameter in own)

    @property
    def channel_dim(self) -> int:
        """The dimension of the units in the layer's output."""
        return channel_dim(self.layer)

    @property
    def norm(self) -> BatchNorm | MeanOnlyBatchNorm | None:
        """The batch normalization after the layer, which holds its bias; None if there is none."""
        return self.layer.norm if isinstance(self.layer, (MeanBatchNormalized, BatchNormalized)) else None

    def empty_rows(self, generator: torch.Generator | None) -> Tensor:
        """An empty tensor for the weight's rows `[out, ...]`, in at least float32, on the device of `generator`."""
        like = rows(self.layer, self.directions)
        device = like.device if generator is None else generator.device
        return torch.empty(like.shape, dtype=torch.promote_types(like.dtype, torch.float32), device=device)

    def set_rows(self, directions: Tensor, lengths: Tensor) -> None:
        """Set the rows of the effective weight to these directions `[out, ...]`, stored in `v`, and lengths `[out]`.

        `subtract` has to follow.
        """
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
            if bias is not None:  # of a subclass with a forward pass of its own
                bias.zero_()
            norm.bias.zero_()
            norm.running_mean.copy_(mean)
        elif bias is not None:
            bias.copy_(-mean)
        if isinstance(self.layer, Projection):
            self.layer.start()

    def set_weight_and_bias(self, drawn: Tensor, bias: float) -> None:
        """Set, in place, the rows of the weight `[out, ...]` and all biases; running statistics are reset."""
        layer = self.layer
        weight = rows(layer, drawn.to(self.directions.device)).to(self.directions)
        if isinstance(layer, NormalizedLayer):
            layer.unfold({**layer.plain_values(), "weight": weight, "bias": weight.new_full((len(drawn),), bias)})
            return
        self.directions.copy_(weight)
        if layer.bias is not None:
            layer.bias.fill_(bias)


def weighted_layers(network: nn.Module) -> list[WeightedLayer]:
    """Every dense, bilinear and convolutional layer of `network` once, heads and frozen ones too, in registered order.

    The output projection of attention, which never calls it as a layer, is left out with the rest of the attention.

    Raises:
        ValueError: the weight of a layer is computed from other parameters (by a parametrization, by pruning), or has
            no shape yet.
    """
    of_attention = {module.out_proj for module in network.modules() if isinstance(module, nn.MultiheadAttention)}
    named = ((name, module) for name, module in network.named_modules() if module not in of_attention)
    layers = [WeightedLayer(name, module) for name, module in named if _has_weight(module)]
    for layer in layers:
        weight = layer.layer._parameters.get(_name_of_weight(layer.layer))
        if weight is None:
            raise ValueError(f"the weight of {layer} is computed from others: remove its parametrization first")
        if isinstance(weight, nn.UninitializedParameter):
            raise ValueError(f"the weight of {layer} has no shape yet: call the network once first")
    return layers


def layers_to_initialize(network: nn.Module) -> list[WeightedLayer]:
    """The weighted layers of `network` that are not frozen.

    Raises:
        ValueError: there are none, a bias is computed from other parameters, or as `weighted_layers`.
    """
    layers = [layer for layer in weighted_layers(network) if not layer.frozen]
    if not layers:
        raise ValueError(
            f"{type(network).__name__} has no dense or convolutional layer to initialize whose weight is not frozen"
        )
    for layer in layers:
        if _has_computed_bias(layer.layer) or _has_computed_bias(layer.norm):
            raise ValueError(f"the bias of {layer} is computed from others: remove its parametrization first")
    return layers


def check_lengths_are_free(layers: list[WeightedLayer], init: str) -> None:
    """Refuse layers whose normalizer fixes the lengths of the rows, so that the initialization cannot set them.

    Raises:
        ValueError: such a layer.
    """
    for layer in layers:
        if isinstance(layer.layer, _WITH_LENGTHS_OF_ITS_OWN) and not isinstance(layer.layer, ProjectedBeforeBatchNorm):
            raise ValueError(
                f"{init} sets the lengths of rows, but {layer} is a {type(layer.layer).__name__}, whose lengths its "
                "method gives: take 'preserve' or 'he', or initialize before normalizing"
            )


def _name_of_weight(layer: nn.Module) -> str:
    """The name of the parameter `directions`, if the layer has it."""
    if isinstance(layer, WeightNormLayer):
        return "v"
    return "weight_orig" if isinstance(layer, SpectralNormalized) else "weight"


def _has_computed_bias(module: Any) -> bool:
    """Whether `module` has a bias that is neither its parameter nor its buffer, so that writing to it would be lost."""
    own = [] if module is None else [module._parameters.get("bias"), module._buffers.get("bias")]
    return getattr(module, "bias", None) is not None and not any(bias is not None for bias in own)


def _has_weight(module: nn.Module) -> bool:
    return is_dense(module) or (is_without_weight(module) and isinstance(module, tuple(WEIGHT_NORM_LAYERS)))
