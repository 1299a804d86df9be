"""Normalizers by name: which layers of a network each converts, and into what."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.modules.lazy import LazyModuleMixin

from wnrl.normalizers.batch_norm import BatchNormalized, MeanBatchNormalized
from wnrl.normalizers.describe import describe_layers, remember_reasons
from wnrl.normalizers.layer_kinds import (
    is_dense,
    is_embedding,
    is_recurrent,
    is_without_weight,
    output_modules,
    unknown_name,
    weight_norm_kind,
)
from wnrl.normalizers.layer_norm import ChannelLayerNormalized, LayerNormalized
from wnrl.normalizers.projection import (
    ProjectedBeforeBatchNorm,
    ProjectedLayer,
    Projection,
    RadiusProjected,
    WeightClipped,
)
from wnrl.normalizers.spectral_norm import SpectralNormalized
from wnrl.normalizers.stale_optimizers import watch
from wnrl.normalizers.take_over import TorchWeightNorm, made_plain, torch_weight_norms
from wnrl.weight_norm.normalized_layer import NormalizedLayer, check_names_are_free, converted_class
from wnrl.weight_norm.rows import has_own_forward
from wnrl.weight_norm.units import Units, check_units
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer
from wnrl.weight_norm.wrappers import register_stripping


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
        if ProjectedBeforeBatchNorm in self.mixins and has_own_forward(type(layer)):
            raise ValueError(
                f"rows of a {type(layer).__name__} cannot be projected before its batch norm, since nothing is known "
                "of its own forward pass: leave it out by layers="
            )
        check_names_are_free(layer, converted_class(type(layer), self.mixins, kind), names)
        if kind is not None and layer not in options.taken_over:
            kind.check_rows(layer, options.units, options.ballast)

    def __call__(self, layer: nn.Module, options: Options) -> nn.Module:
        """Conversion the layer and return it."""
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


_WEIGHT = Conversion(weight_norm=True)
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
    "weight": Normalizer(_WEIGHT, _WEIGHT, _WEIGHT, _WEIGHT, normalize_output=True, takes_over=True),
    "mean-batch": Normalizer(
        _MEAN_BATCH, _WEIGHT, _WEIGHT, _WEIGHT, normalize_output=True, in_forward=True, takes_over=True
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
"""By name. Sources of the placement: `weight`, `mean-batch`: Salimans & Kingma 2016 and their code (the output layer
gets weight norm alone). `batch`: Ioffe & Szegedy 2015, section 3.2. `layer`: Ba et al. 2016; `layer-channels`: the code
of PQN (Gallici et al. 2024). `layer+projected`: Lyle et al. 2024 (normalize-and-project). `batch+projected`: Palenicek
et al. 2025 (CrossQ + WN), in the order of XQC, batch norm before the nonlinearity. `projected`: its rows alone.
`spectral`: Gogianu et al. 2021, one layer. `weight-clip`: Elsayed et al. 2024."""


def normalize(
    network: nn.Module,
    norm: str,
    *,
    normalize_output: bool | None = None,
    layers: Collection[str] | Callable[[str, nn.Module], bool] | None = None,
    units: Units = "paper",
    ballast: float = 0.0,
    verbose: bool = False,
) -> nn.Module:
    """Normalize the layers of `network` with the normalizer `norm`, in place.

    Dense, bilinear, convolutional and recurrent layers and attention are converted, those of subclasses too. A layer
    stays the object that it was: its class becomes a subclass of its own, its forward pass and hooks stay, and `v` is
    the parameter that `weight` was. The function stays the same (`preserve`) for `none` and `weight`, and in evaluation
    mode for `mean-batch`, `batch` and `batch+projected`. Each normalizer comes before the nonlinearity. Layers that
    share a weight go on sharing it, if all of them are converted to weight normalization. Layers that are normalized
    already stay as they are; those of torch's `weight_norm` are taken over. Build the optimizer afterwards: it has to
    hold the new parameters.

    Args:
        network: any module, also a single layer.
        norm: `none`, `weight`, `mean-batch`, `batch`, `layer`, `layer-channels`, `projected`, `layer+projected`,
            `batch+projected`, `spectral` or `weight-clip`.
        normalize_output: whether output layers are normalized too; None: as in the paper that introduced it. Output
            layers are the `output_layers` of the network's heads, else the last layer registered.
        layers: names of the layers to convert (as in `named_modules`), or a predicate of name and layer; None: all that
            the normalizer's source converts. Layers that the source leaves plain stay so, even if a predicate holds;
            embeddings are converted only if they are chosen here.
        units: of g in weight-normalized layers, see `WeightNormLayer`: "sqrt" for Adam and its kin, "paper" for SGD.
        ballast: c in w = s·g·v/√(‖v‖² + c²), for layers with short rows.
        verbose: whether to print what was done to each layer, as `wnrl.describe` has it.

    Returns:
        The network.

    Raises:
        ValueError: unknown norm or layer, a layer that cannot be normalized (lazy, parametrized) or already is, one
            that is named but that `norm` leaves plain, tied parameters that would come apart, or outputs to normalize
            that are only a summand of those of their module, as in a noisy layer.
    """
    _check_arguments(network, norm, layers)
    check_units(units)
    if norm != "none" and any(hasattr(parameter, "full_tensor") for parameter in network.parameters()):
        raise ValueError(
            "a sharded network cannot be normalized, since FSDP would not know g: do it before fully_shard"
        )
    normalizer = NORMALIZERS[norm]
    before = {module for module in network.modules() if isinstance(module, NormalizedLayer)}
    wrapped = torch_weight_norms(network) if normalizer.takes_over else {}
    layers = _decided_now(network, layers, wrapped) if callable(layers) else layers
    with made_plain(wrapped):
        _convert_layers(network, norm, normalize_output, layers, Options(units, ballast, taken_over=wrapped), wrapped)
    if norm != "none" and not isinstance(network, NormalizedLayer):
        register_stripping(network)
    if verbose:
        print(describe_layers(network, lambda layer: layer not in before))
    return network


def _check_arguments(network: Any, norm: Any, layers: Any) -> None:
    """Refuse arguments of other types, and an unknown normalizer."""
    if not isinstance(network, nn.Module):
        raise TypeError(f"normalize takes a module, got {type(network).__name__}: put layers into an nn.ModuleList")
    if not isinstance(norm, str) or norm not in NORMALIZERS:
        raise unknown_name("normalizer", str(norm), NORMALIZERS)
    if isinstance(layers, type):
        name = layers.__name__
        raise TypeError(f"layers takes names or a predicate: lambda name, layer: isinstance(layer, {name})")
    if not (layers is None or callable(layers) or all(isinstance(name, str) for name in layers)):
        wrong = next(name for name in layers if not isinstance(name, str))
        raise TypeError(f'layers takes names as in named_modules(), such as "0", got {type(wrong).__name__}')


def _decided_now(
    network: nn.Module, predicate: Callable[[str, nn.Module], bool], wrapped: Collection[nn.Module]
) -> Callable[[str, nn.Module], bool]:
    """The predicate, with the answers that it gives now for the wrapped layers."""
    decided = {layer: predicate(name, layer) for name, layer in network.named_modules() if layer in wrapped}
    return lambda name, layer: decided[layer] if layer in decided else predicate(name, layer)


def _convert_layers(
    network: nn.Module,
    norm: str,
    normalize_output: bool | None,
    layers: Collection[str] | Callable[[str, nn.Module], bool] | None,
    options: Options,
    wrapped: Mapping[nn.Module, TorchWeightNorm],
) -> None:
    """As `normalize`, of a network in which the `wrapped` layers are plain, with v for their weights."""
    candidates = _candidates(network, layers)
    if norm == "none":
        return
    normalizer, named = NORMALIZERS[norm], layers is not None and not callable(layers)
    chosen, reasons = _chosen(network, candidates, normalizer, normalize_output, narrow=layers is None)
    if named and reasons:
        layer, reason = next(iter(reasons.items()))
        raise ValueError(f"{norm!r} leaves {_quoted(candidates[layer])} plain: {reason}")
    if not chosen:
        raise ValueError(
            f"{type(network).__name__} has no layer to normalize with {norm!r}: it needs a dense or convolutional layer"
            " (a hidden one, where the output stays plain)"
        )
    _check_not_tied(network, chosen, candidates)
    if normalizer.of_outputs:
        _check_outputs_are_complete(network, [layer for layer in chosen if chosen[layer] is normalizer.hidden], norm)
    for layer in chosen:
        if layer in wrapped:
            try:
                wrapped[layer].check_not_tied(network.modules(), wrapped)
                wrapped[layer].hand_over(options.lengths, options.units, options.ballast)
            except ValueError as error:
                raise ValueError(f"{_quoted(candidates[layer])} cannot be taken over: {error}") from error
    for layer, convert in chosen.items():
        convert.check(layer, options)
    for layer, convert in chosen.items():
        convert(layer, options)
    left_out = [] if layers is None else [module for module in network.modules() if module not in candidates]
    remember_reasons(network, reasons, left_out)
    for module in network.modules():
        if module in chosen and isinstance(module, WeightNormLayer):
            for name in module.weight_names:
                watch(*module.pair(name))
        elif isinstance(module, nn.TransformerEncoderLayer) and normalizer.in_forward:
            module.activation_relu_or_gelu = 0  # its fast path would read the weights and never call the layers
        elif isinstance(module, nn.TransformerEncoder) and normalizer.in_forward:
            module.enable_nested_tensor = module.use_nested_tensor = False  # of that path


def _candidates(
    network: nn.Module, layers: Collection[str] | Callable[[str, nn.Module], bool] | None
) -> dict[nn.Module, str]:
    """The requested layers, which can be normalized, with their names, in order of registration."""
    modules = dict(network.named_modules())
    if layers is None or callable(layers):
        possible = {name: m for name, m in modules.items() if _can_be_normalized(m) or is_without_weight(m)}
        wanted = {
            name: m
            for name, m in possible.items()
            if not isinstance(m, NormalizedLayer) and (not is_embedding(m) if layers is None else layers(name, m))
        }
        if layers is None and possible and not wanted:
            if plain := [name for name, m in possible.items() if not isinstance(m, NormalizedLayer)]:
                raise ValueError(
                    f"{_quoted(plain[0])} is an embedding, normalized only if named: layers=[{plain[0]!r}]"
                )
            raise ValueError(
                "every layer is already normalized: wnrl.remove(network) first to change normalizer, units or ballast"
            )
    else:
        layers = [layers] if isinstance(layers, str) else layers
        known = dict(network.named_modules(remove_duplicate=False))  # a shared layer by any of its names
        if missing := [name for name in layers if name not in known]:
            raise unknown_name("layer", missing[0], known)
        wanted = {name: known[name] for name in layers}
    for name, module in wanted.items():
        _check_can_be_normalized(name, module)
    order = {module: index for index, module in enumerate(modules.values())}
    return {module: name for name, module in sorted(wanted.items(), key=lambda item: order[item[1]])}


def _can_be_normalized(layer: nn.Module) -> bool:
    return is_dense(layer) or is_recurrent(layer) or is_embedding(layer)


def _check_can_be_normalized(name: str, module: nn.Module) -> None:
    if isinstance(module, NormalizedLayer):
        raise ValueError(f"{_quoted(name)} is already normalized: leave it out of layers, or wnrl.remove it first")
    if isinstance(module, LazyModuleMixin):
        raise ValueError(f"{_quoted(name)} has no shape yet: call the network once first")
    if is_without_weight(module):
        raise ValueError(f"{_quoted(name)} is parametrized: remove its parametrization first")
    if not _can_be_normalized(module):
        kinds = "a dense, convolutional or recurrent layer, attention or an embedding"
        raise ValueError(f"{_quoted(name)} is a {type(module).__name__} and cannot be normalized: choose {kinds}")
    weight_norm_kind(module).check_plain(module)


def _chosen(
    network: nn.Module,
    candidates: Mapping[nn.Module, str],
    normalizer: Normalizer,
    normalize_output: bool | None,
    *,
    narrow: bool,
) -> tuple[dict[nn.Module, Conversion], dict[nn.Module, str]]:
    """The layers to convert, each with its conversion, and the others, each with the reason."""
    outputs = output_modules(network)
    with_output = normalizer.normalize_output if normalize_output is None else normalize_output
    if with_output and normalizer.output is None and any(is_dense(layer) and layer in outputs for layer in candidates):
        raise ValueError("this normalizer does not apply to output layers: leave out normalize_output=True")
    last_hidden = _last_hidden(candidates, outputs) if narrow and normalizer.last_hidden_only else None
    chosen: dict[nn.Module, Conversion] = {}
    reasons: dict[nn.Module, str] = {}
    uncalled = {m.out_proj for m in network.modules() if isinstance(m, nn.MultiheadAttention)}
    for layer in candidates:
        convert, reason = _conversion(layer, normalizer, layer in outputs, with_output)
        if layer in uncalled and normalizer.in_forward:
            convert, reason = normalizer.recurrent, "attention reads its weight and never calls it"
        if last_hidden is not None and layer not in outputs and layer not in last_hidden:
            convert, reason = None, "only the last hidden layer before each output is normalized"
        if convert is not None and normalizer.over_units and _units(layer) < 2:
            convert, reason = None, "it has one unit, which layer normalization would make constant"
        if convert is None:
            reasons[layer] = reason
        else:
            chosen[layer] = convert
    return chosen, reasons


def _conversion(
    layer: nn.Module, normalizer: Normalizer, is_output: bool, with_output: bool
) -> tuple[Conversion | None, str]:
    """How `layer` is converted, and otherwise why not."""
    if is_embedding(layer):
        return normalizer.embedding, "an embedding, to which this normalizer does not apply: leave it out of layers"
    if is_recurrent(layer):
        return (
            normalizer.recurrent,
            "a recurrent layer or attention, to which it does not apply: leave it out of layers",
        )
    if is_output and not with_output:
        choice = "pass normalize_output=True, or " if normalizer.output else ""
        return None, f"an output layer: {choice}leave it out of layers"
    return (normalizer.output if is_output else normalizer.hidden), "it does not apply to this layer"


def _last_hidden(candidates: Mapping[nn.Module, str], outputs: set[nn.Module]) -> set[nn.Module]:
    """The last hidden layer before each output layer, in order of registration."""
    found: set[nn.Module] = set()
    hidden: nn.Module | None = None
    for layer in filter(is_dense, candidates):
        if layer not in outputs:
            hidden = layer
        elif hidden is not None:
            found.add(hidden)
            hidden = None
    return found or ({hidden} if hidden is not None else set())


def _units(layer: nn.Module) -> int:
    return int(getattr(layer, "out_features", getattr(layer, "out_channels", 0)))


def _quoted(name: str) -> str:
    return f"layer {name!r}" if name else "the network itself"


def _check_outputs_are_complete(network: nn.Module, layers: Collection[nn.Module], norm: str) -> None:
    """Refuse layers that their module declares as `summands`, such as the mean of a noisy layer.

    Raises:
        ValueError: such a layer.
    """
    for name, module in network.named_modules():
        for part in getattr(type(module), "summands", ()):
            if module._modules.get(part) in layers:
                raise ValueError(
                    f"{norm!r} cannot normalize the outputs of {_quoted(name)}, a {type(module).__name__}, whose "
                    f"{part!r} is only one summand of them: take a normalizer of weights, such as 'weight'"
                )


def _check_not_tied(network: nn.Module, chosen: Mapping[nn.Module, Conversion], names: Mapping[nn.Module, str]) -> None:
    """Refuse layers whose weight another module uses, unless both become weight-normalized with the same rows."""
    users: dict[nn.Parameter, list[nn.Module]] = {}
    for module in network.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                users.setdefault(parameter, []).append(module)
    for layer, name in names.items():
        for own, parameter in layer._parameters.items() if layer in chosen else ():
            modules = users[parameter] if parameter is not None else []
            together = all(chosen.get(module) is _WEIGHT for module in modules)
            alike = len({isinstance(module, _ConvTransposeNd) for module in modules}) == 1
            free = chosen[layer] is _WEIGHT and "bias" in own
            if len(modules) > 1 and not free and not (together and alike):
                raise ValueError(
                    f"the {own} of {_quoted(name)} is tied to another module's and would come apart: leave the layer "
                    "out by layers=, share the whole layer, or convert all of them to 'weight'"
                )
