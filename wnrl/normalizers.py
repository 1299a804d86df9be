"""What a normalizer's name does to a network, and plain (folded) copies of normalized networks."""

import copy
import difflib
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from wnrl.weight_norm import Units, WeightNormConv2d, WeightNormLayer, WeightNormLinear

WEIGHT_NORM_LAYERS: dict[type[nn.Module], type[WeightNormLayer]] = {
    layer.plain_class: layer for layer in (WeightNormLinear, WeightNormConv2d)
}


def _keep(layer: nn.Module, units: Units) -> nn.Module:
    return layer


def _weight_normalize(layer: nn.Module, units: Units) -> nn.Module:
    return WEIGHT_NORM_LAYERS[type(layer)].from_plain(layer, units)


NORMALIZERS: dict[str, Callable[[nn.Module, Units], nn.Module]] = {"none": _keep, "weight": _weight_normalize}
"""By name, what takes the place of one plain layer."""


def normalize(network: nn.Module, norm: str, *, normalize_output: bool = True, units: Units = "sqrt") -> nn.Module:
    """Put the normalizer `norm` on every linear and convolutional layer of `network`, in place.

    The function of the network stays the same (`preserve`). Layers are those of exactly the types `nn.Linear` and
    `nn.Conv2d`; subclasses, whose forward pass may be another, stay as they are. A layer that stands in several places
    stays shared. Build the optimizer afterwards: one built before holds parameters that are no longer used.

    Args:
        network: any module; if it is itself such a layer, only the returned one is normalized.
        norm: a name in `NORMALIZERS`.
        normalize_output: False leaves the last layer, in order of registration, plain.
        units: of `g`, see `wnrl.weight_norm`.

    Returns:
        The network.

    Raises:
        ValueError: unknown name, a network without such layers or already normalized, tied parameters.
    """
    if norm not in NORMALIZERS:
        nearest = difflib.get_close_matches(norm, NORMALIZERS) or ["none of them near"]
        raise ValueError(
            f"unknown normalizer {norm!r} (nearest: {', '.join(nearest)}); known: {', '.join(NORMALIZERS)}"
        )
    _check_not_normalized(network)
    if norm == "none":
        return network
    layers = _plain_layers(network, normalize_output)
    _check_not_tied(network, layers)
    return _replace(network, {layer: NORMALIZERS[norm](layer, units) for layer in layers.values()})


def fold(network: nn.Module) -> nn.Module:
    """A deep copy of `network` with the same function, its normalized layers replaced by plain ones (w = g v/‖v‖).

    For acting and target networks: as cheap as an unnormalized network. Keep it up to date with `refresh` or `polyak`.
    """
    network = copy.deepcopy(network)
    return _replace(network, {m: m.fold() for m in network.modules() if isinstance(m, WeightNormLayer)})


@torch.no_grad()
def refresh(folded: nn.Module, network: nn.Module) -> None:
    """Copy effective weights, other parameters and buffers of `network` into `folded`, in place.

    No storage is replaced, so a captured graph that uses `folded` stays valid.

    Raises:
        ValueError: `folded` has another structure than `fold(network)`.
    """
    parameters, buffers = _matched(folded, network)
    for targets, sources in (parameters, buffers):
        if targets:
            torch._foreach_copy_(targets, sources)


@torch.no_grad()
def polyak(folded: nn.Module, network: nn.Module, tau: float) -> None:
    """Soft update in place: w_folded ← (1 − tau) w_folded + tau w, on effective weights and other parameters.

    Averaging `g` and `v` instead would give another w. Buffers are copied.

    Args:
        folded: a `fold` of `network`.
        network: the learner.
        tau: weight of the learner, in [0, 1].

    Raises:
        ValueError: `tau` outside [0, 1], or structures that do not match.
    """
    if not 0.0 <= tau <= 1.0:
        raise ValueError(f"tau must lie in [0, 1], got {tau}")
    (targets, sources), buffers = _matched(folded, network)
    if targets:
        moved = [source.to(target) for source, target in zip(sources, targets, strict=True)]
        torch._foreach_lerp_(targets, moved, tau)
    if buffers[0]:
        torch._foreach_copy_(*buffers)


def _plain_layers(network: nn.Module, normalize_output: bool) -> dict[str, nn.Module]:
    layers = {name: m for name, m in network.named_modules() if type(m) in WEIGHT_NORM_LAYERS}
    if layers and not normalize_output:
        layers.popitem()
    if not layers:
        kinds = " or ".join(kind.__name__ for kind in WEIGHT_NORM_LAYERS)
        beside = "" if normalize_output else " beside its output"
        raise ValueError(f"{type(network).__name__} has no layer to normalize{beside}: it needs a {kinds}")
    return layers


def _check_not_normalized(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if isinstance(module, WeightNormLayer):
            raise ValueError(f"{repr(name) if name else 'the network itself'} is already normalized: normalize once")


def _check_not_tied(network: nn.Module, layers: dict[str, nn.Module]) -> None:
    uses = Counter(id(p) for module in network.modules() for p in module._parameters.values() if p is not None)
    for name, layer in layers.items():
        if any(uses[id(p)] > 1 for p in layer.parameters(recurse=False)):
            raise ValueError(
                f"a parameter of layer {name!r} is tied to another module's and would come apart: "
                "share the whole layer instead, or normalize first and tie g, v and bias afterwards"
            )


def _replace(network: nn.Module, new: dict[nn.Module, nn.Module]) -> nn.Module:
    """Put `new[module]` wherever `module` stands in `network`."""
    for parent in list(network.modules()):
        for name, child in parent._modules.items():
            if child in new:
                parent._modules[name] = new[child]
    return new.get(network, network)


Tensors = tuple[list[Tensor], list[Tensor]]


def _matched(folded: nn.Module, network: nn.Module) -> tuple[Tensors, Tensors]:
    """(targets, sources) of the parameters and of the buffers, each target once."""
    return (
        _pairs(dict(folded.named_parameters(remove_duplicate=False)), dict(_effective_parameters(network))),
        _pairs(dict(folded.named_buffers(remove_duplicate=False)), dict(network.named_buffers(remove_duplicate=False))),
    )


def _effective_parameters(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for path, module in network.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        own = dict(module.named_parameters(recurse=False))
        if isinstance(module, WeightNormLayer):
            del own["g"], own["v"]
            yield f"{prefix}weight", module.effective_weight()
        yield from ((prefix + name, parameter) for name, parameter in own.items())


def _pairs(targets: dict[str, Tensor], sources: dict[str, Tensor]) -> Tensors:
    shapes, other = ({(name, t.shape) for name, t in tensors.items()} for tensors in (targets, sources))
    if shapes != other:
        different = sorted({name for name, _ in shapes ^ other})
        raise ValueError(f"not a fold of this network, they differ in {', '.join(different[:5])}: make it with fold()")
    unique = {id(target): (target, sources[name]) for name, target in targets.items()}
    return [target for target, _ in unique.values()], [source.detach() for _, source in unique.values()]
