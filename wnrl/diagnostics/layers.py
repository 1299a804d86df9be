"""The layers of a network by names that a person reads: `conv1`, `fc`, `q`, `lstm`, instead of their paths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from wnrl.networks.q_network import QNetwork
from wnrl.networks.soft_actor_critic import PolicyNetwork
from wnrl.weight_norm.normalized_layer import NormalizedLayer

UNNAMED = {"torso", "layers", "layer", "core", "mean", "linear", "cnn", "features_extractor", "mlp_extractor"} | {
    "_orig_mod"  # what torch.compile wraps
}
"""Attributes that say where a layer is kept, in our networks and in those of stable-baselines3, and not what it is."""


def named_layers(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Layers with weights, plain or normalized, without the parts of normalizers, by readable and different names.

    In an `nn.Sequential` layers are numbered by kind, `conv1`, `conv2` and `fc`; one that an `nn.Sequential` ends with
    has its name, as in `q_net.fc1`, `q_net.fc2`, `q_net`. The head of a Q network is `q`. Where two names would be
    equal, both layers keep their paths in `named_modules`.
    """
    layers = list(_layers(network))
    names = [layer_name(network, path) for path, _ in layers]
    often = Counter(names)
    return [(name if often[name] == 1 else path, layer) for name, (path, layer) in zip(names, layers, strict=True)]


def layer_name(network: nn.Module, path: str) -> str:
    """The readable name of the module at that path, see `named_layers`."""
    words: list[str] = []
    module, named, key = network, False, ""  # whether the last word is the name of `module`
    for key in path.split(".") if path else []:
        child = module._modules[key]
        assert child is not None
        if isinstance(module, nn.Sequential):
            word, named = _in_sequence(module, child, named), False
        elif isinstance(module, nn.ModuleList):
            word, named = f"{words.pop().removesuffix('s') if named else _kind(child)}{int(key) + 1}", True
        elif key == "layer":
            word = ""  # as its owner
        elif key == "head" and isinstance(module, QNetwork | PolicyNetwork):
            word, named = "q" if isinstance(module, QNetwork) else "", True
        else:
            word = "" if key in UNNAMED else key
            named = bool(word)
        if word and words[-1:] != [word]:
            words.append(word)
        module = child
    return ".".join(words) or (_kind(module) if key.isdigit() or not key else key)


def matrices(parameters: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """The weight matrices among a layer's parameters, under the plain layer's names."""
    names = ("weight", "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")  # the latter of attention
    return {name: parameter for name, parameter in parameters if name.startswith(names) and parameter.ndim > 1}


def _layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """By path."""
    parts: set[nn.Module | None] = set()
    for path, module in network.named_modules():
        if isinstance(module, NormalizedLayer):
            parts.update(module._modules[part] for part in module.own_parts)
        if module not in parts and (
            isinstance(module, NormalizedLayer) or matrices(module.named_parameters(recurse=False))
        ):
            yield path, module


def _in_sequence(sequence: nn.Sequential, child: nn.Module, named: bool) -> str:
    """The child's kind, with its number where there are others; empty where it ends a sequence with a name."""
    if named and child is sequence[-1]:
        return ""
    others = [module for module in sequence if not (named and module is sequence[-1])]
    same = [module for module in others if _kind(module) == _kind(child)]
    return _kind(child) if len(same) == 1 else f"{_kind(child)}{same.index(child) + 1}"


def _kind(module: nn.Module) -> str:
    if isinstance(module, _ConvNd):
        return "conv"
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]*", type(module).__name__)
    word = "linear" if isinstance(module, nn.Linear) else words[-1].lower() if words else "layer"
    return "fc" if word == "linear" else word
