"""Normalize the layers of a network: which are converted, and in which order."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import nn

from wnrl.normalizers.conversions import NORMALIZERS, Conversion, Normalizer, Options
from wnrl.normalizers.describe import describe_layers, remember_reasons
from wnrl.normalizers.layer_kinds import (
    is_dense,
    is_embedding,
    is_recurrent,
    is_without_weight,
    output_modules,
    policy_modules,
    unknown_name,
)
from wnrl.normalizers.refusals import (
    Refusals,
    can_be_normalized,
    check_can_be_normalized,
    check_conversions,
    check_not_distributed,
    quoted,
)
from wnrl.normalizers.stale_optimizers import watch
from wnrl.normalizers.take_over import TorchWeightNorm, made_plain, torch_weight_norms
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.units import Units, check_units
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer
from wnrl.weight_norm.wrappers import register_stripping


def normalize(
    network: nn.Module,
    norm: str,
    *,
    normalize_output: bool | None = None,
    layers: Collection[str] | Callable[[str, nn.Module], bool] | None = None,
    strict: bool = True,
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
        normalize_output: whether output layers are normalized too; None: as in the paper that introduced it, but not
            policy layers of actor-critics under `weight` and `mean-batch`. Output layers are the `output_layers` of the
            network's heads, else the last layer registered; policy layers are the `policy_layers` of its modules.
        layers: names of the layers to convert (as in `named_modules`), or a predicate of name and layer; None: all that
            the normalizer's source converts. Layers that the source leaves plain stay so, even if a predicate holds;
            embeddings are converted only if they are chosen here.
        strict: False leaves layers plain that cannot be normalized and are not named in `layers`, with one warning that
            lists them; `wnrl.describe` shows the reasons.
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
    if norm != "none":
        check_not_distributed(network)
    normalizer = NORMALIZERS[norm]
    before = {module for module in network.modules() if isinstance(module, NormalizedLayer)}
    wrapped = torch_weight_norms(network) if normalizer.takes_over else {}
    layers = _decided_now(network, layers, wrapped) if callable(layers) else layers
    refused = Refusals(strict or (layers is not None and not callable(layers)))
    with made_plain(wrapped):
        options = Options(units, ballast, taken_over=wrapped)
        _convert_layers(network, norm, normalize_output, layers, options, wrapped, refused)
    if refused.errors:
        warnings.warn(f"these layers stay plain: {'; '.join(map(str, refused.errors.values()))}", stacklevel=2)
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
    refused: Refusals,
) -> None:
    """As `normalize`, of a network in which the `wrapped` layers are plain, with v for their weights."""
    candidates = _candidates(network, layers, refused)
    if norm == "none":
        return
    normalizer, named = NORMALIZERS[norm], layers is not None and not callable(layers)
    chosen, reasons = _chosen(network, candidates, normalizer, normalize_output, named=named, narrow=layers is None)
    if named and reasons:
        layer, reason = next(iter(reasons.items()))
        raise ValueError(f"{norm!r} leaves {quoted(candidates[layer])} plain: {reason}")
    if not chosen and not refused.errors:
        raise ValueError(
            f"{type(network).__name__} has no layer to normalize with {norm!r}: it needs a dense or convolutional layer"
            " (a hidden one, where the output stays plain)"
        )
    check_conversions(network, chosen, candidates, norm, options, wrapped, refused)
    for layer, convert in chosen.items():
        convert(layer, options)
    left_out = [] if layers is None else [module for module in network.modules() if module not in candidates]
    remember_reasons(network, reasons | refused.reasons(), left_out)
    for module in network.modules():
        if module in chosen and isinstance(module, WeightNormLayer):
            for name in module.weight_names:
                watch(*module.pair(name))
        elif isinstance(module, nn.TransformerEncoderLayer) and normalizer.in_forward:
            module.activation_relu_or_gelu = 0  # its fast path would read the weights and never call the layers
        elif isinstance(module, nn.TransformerEncoder) and normalizer.in_forward:
            module.enable_nested_tensor = module.use_nested_tensor = False  # of that path


def _candidates(
    network: nn.Module, layers: Collection[str] | Callable[[str, nn.Module], bool] | None, refused: Refusals
) -> dict[nn.Module, str]:
    """The requested layers, which can be normalized, with their names, in order of registration."""
    modules = dict(network.named_modules())
    if layers is None or callable(layers):
        possible = {name: m for name, m in modules.items() if can_be_normalized(m) or is_without_weight(m)}
        wanted = {
            name: m
            for name, m in possible.items()
            if not isinstance(m, NormalizedLayer) and (not is_embedding(m) if layers is None else layers(name, m))
        }
        if layers is None and possible and not wanted:
            if plain := [name for name, m in possible.items() if not isinstance(m, NormalizedLayer)]:
                raise ValueError(f"{quoted(plain[0])} is an embedding, normalized only if named: layers=[{plain[0]!r}]")
            raise ValueError(
                "every layer is already normalized: wnrl.remove(network) first to change normalizer, units or ballast"
            )
    else:
        layers = [layers] if isinstance(layers, str) else layers
        known = dict(network.named_modules(remove_duplicate=False))  # a shared layer by any of its names
        if missing := [name for name in layers if name not in known]:
            raise unknown_name("layer", missing[0], known)
        wanted = {name: known[name] for name in layers}
    order = {module: index for index, module in enumerate(modules.values())}
    found = {module: name for name, module in sorted(wanted.items(), key=lambda item: order[item[1]])}
    refused.check(found, lambda module: check_can_be_normalized(found[module], module))
    return found


def _chosen(
    network: nn.Module,
    candidates: Mapping[nn.Module, str],
    normalizer: Normalizer,
    normalize_output: bool | None,
    *,
    named: bool,
    narrow: bool,
) -> tuple[dict[nn.Module, Conversion], dict[nn.Module, str]]:
    """The layers to convert, each with its conversion, and the others, each with the reason."""
    outputs = output_modules(network)
    with_output = normalizer.normalize_output if normalize_output is None else normalize_output
    if with_output and normalizer.output is None and any(is_dense(layer) and layer in outputs for layer in candidates):
        raise ValueError("this normalizer does not apply to output layers: leave out normalize_output=True")
    plain = policy_modules(network) if normalizer.plain_policy and normalize_output is None and not named else set()
    last_hidden = _last_hidden(candidates, outputs) if narrow and normalizer.last_hidden_only else None
    chosen: dict[nn.Module, Conversion] = {}
    reasons: dict[nn.Module, str] = {}
    uncalled = {m.out_proj for m in network.modules() if isinstance(m, nn.MultiheadAttention)}
    for layer in candidates:
        convert, reason = _conversion(layer, normalizer, layer in outputs, with_output)
        if layer in plain and is_dense(layer):
            convert, reason = None, "the policy layer of an actor-critic: pass normalize_output=True"
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
