"""The normalizers by name: into what each converts layers, and which layers its source converts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, cast

from torch import nn

from wnrl.normalizers.batch_norm import BatchNormalized, MeanBatchNormalized
from wnrl.normalizers.layer_kinds import weight_norm_kind
from wnrl.normalizers.layer_norm import ChannelLayerNormalized, LayerNormalized
from wnrl.normalizers.projection import (
    ProjectedBeforeBatchNorm,
    ProjectedLayer,
    Projection,
    RadiusProjected,
    WeightClipped,
)
from wnrl.normalizers.spectral_norm import SpectralNormalized
from wnrl.weight_norm.normalized_layer import check_names_are_free, converted_class
from wnrl.weight_norm.rows import has_own_forward
from wnrl.weight_norm.units import Units


@dataclass(frozen=True)
class Options:
    """How weight-normalized layers store their rows."""

    units: Units = "paper"
    ballast: float = 0.0
    lengths: dict[nn.Parameter, nn.Parameter] = field(default_factory=dict)
    """g by v, of the layers converted so far: layers with one weight share its lengths too."""
    taken_over: Collection[nn.Module] = ()
    """Layers whose lengths are known already, from torch's weight normalization."""


@dataclass(frozen=True)
class Conversion:
    """How a plain layer is converted, in place: into weight normalization, into what its mixins make of it, or both."""

    mixins: tuple[type[Any], ...] = ()
    weight_norm: bool = False

    def check(self, layer: nn.Module, options: Options) -> None:
        """Raise ValueError if the layer cannot be converted, so that no other is before it."""
        kind = weight_norm_kind(layer) if self.weight_norm else None
        names = kind.new_names_in(layer) if kind is not None else ()
        if "forward" in vars(layer) and any(mixin.forward is not nn.Module.forward for mixin in self.mixins):
            raise ValueError(
                f"the forward of a {type(layer).__name__} was replaced on the instance, which would pass its "
                "normalization by: normalize first"
            )
        if ProjectedBeforeBatchNorm in self.mixins and has_own_forward(type(layer)):
            raise ValueError(
                f"rows of a {type(layer).__name__} cannot be projected before its batch norm, since nothing is known "
                "of its own forward pass: leave it out by layers="
            )
        if SpectralNormalized in self.mixins and cast(nn.Parameter, layer.weight).is_complex():
            raise ValueError(
                f"the weight of a {type(layer).__name__} is complex, and 'spectral' takes real ones alone: leave it "
                "out by layers="
            )
        own_bias = getattr(layer, "bias", None) is not None and layer._parameters.get("bias") is None
        if own_bias and {BatchNormalized, MeanBatchNormalized} & {*self.mixins} and not has_own_forward(type(layer)):
            raise ValueError(
                f"the bias of a {type(layer).__name__} is not a parameter that its normalization could take: remove "
                "its pruning first"
            )
        check_names_are_free(layer, converted_class(type(layer), self.mixins, kind), names)
        if kind is not None and layer not in options.taken_over:
            kind.check_rows(layer, options.units, options.ballast)

    def __call__(self, layer: nn.Module, options: Options) -> nn.Module:
        """Convert the layer and return it."""
        settings: dict[str, Any] = {"units": options.units, "ballast": options.ballast, "lengths": options.lengths}
        if not self.mixins:
            return weight_norm_kind(layer).convert(layer, **settings)
        first, *others = self.mixins
        if self.weight_norm:
            return first.convert(layer, weight_norm_kind(layer), **settings)
        first.convert(layer, *others)
        if others:
            cast(Projection, layer).start()
        return layer


WEIGHT = Conversion(weight_norm=True)
_MEAN_BATCH = Conversion((MeanBatchNormalized,), weight_norm=True)
_PROJECTED, _CLIPPED, _SPECTRAL = (
    Conversion((ProjectedLayer,)),
    Conversion((WeightClipped,)),
    Conversion((SpectralNormalized,)),
)


@dataclass(frozen=True)
class Normalizer:
    """The conversions of one normalizer, and the layers that its source converts."""

    hidden: Conversion | None = None
    """For hidden dense and convolutional layers."""
    output: Conversion | None = None
    """For output layers; None where normalizing them makes no sense."""
    recurrent: Conversion | None = None
    """For recurrent layers and cells, and for attention; None: they stay plain."""
    embedding: Conversion | None = None
    """For embeddings, which are converted only by name."""
    normalize_output: bool = False
    """Whether its source normalizes output layers."""
    plain_policy: bool = False
    """Whether the policy layers of actor-critics stay plain by default though other output layers do not."""
    last_hidden_only: bool = False
    """Whether its source normalizes only one layer, the last before each output."""
    over_units: bool = False
    """Whether the units of a layer are normalized together, so that there have to be several."""
    in_forward: bool = False
    """Whether the layers normalize in their forward pass, so that it does not suffice to read their weights."""
    takes_over: bool = False
    """Whether layers that torch's `weight_norm` wraps are converted too."""
    of_outputs: bool = False
    """Whether hidden layers divide their outputs by their deviation, so that these have to be complete."""


NORMALIZERS: dict[str, Normalizer] = {
    "none": Normalizer(),
    "weight": Normalizer(WEIGHT, WEIGHT, WEIGHT, WEIGHT, normalize_output=True, plain_policy=True, takes_over=True),
    "mean-batch": Normalizer(
        _MEAN_BATCH,
        WEIGHT,
        WEIGHT,
        WEIGHT,
        normalize_output=True,
        plain_policy=True,
        in_forward=True,
        takes_over=True,
    ),
    "batch": Normalizer(Conversion((BatchNormalized,)), in_forward=True, of_outputs=True),
    "layer": Normalizer(Conversion((LayerNormalized,)), over_units=True, in_forward=True, of_outputs=True),
    "layer-channels": Normalizer(
        Conversion((ChannelLayerNormalized,)), over_units=True, in_forward=True, of_outputs=True
    ),
    "projected": Normalizer(_PROJECTED, _PROJECTED, _PROJECTED, _PROJECTED),
    "layer+projected": Normalizer(
        Conversion((LayerNormalized, RadiusProjected)), over_units=True, in_forward=True, of_outputs=True
    ),
    "batch+projected": Normalizer(
        Conversion((BatchNormalized, ProjectedBeforeBatchNorm)), _PROJECTED, in_forward=True, of_outputs=True
    ),
    "spectral": Normalizer(_SPECTRAL, _SPECTRAL, last_hidden_only=True, in_forward=True),
    "weight-clip": Normalizer(_CLIPPED, _CLIPPED, _CLIPPED, normalize_output=True),
}
"""By name. Sources of the placement: `weight`, `mean-batch`: Salimans & Kingma 2016 and their code (output layers get
weight norm alone; policy layers of actor-critics stay plain, since their short rows turn around when g crosses zero).
`batch`: Ioffe & Szegedy 2015, section 3.2. `layer`: Ba et al. 2016; `layer-channels`: the code of PQN (Gallici et al.
2024). `layer+projected`: Lyle et al. 2024 (normalize-and-project). `batch+projected`: Palenicek et al. 2025 (CrossQ +
WN), in the order of XQC, batch norm before the nonlinearity. `projected`: its rows alone. `spectral`: Gogianu et al.
2021, one layer. `weight-clip`: Elsayed et al. 2024."""
