"""Parts of a normalized policy that can be saved and loaded alone: an actor, a Q-network."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from stable_baselines3.common.policies import BasePolicy
from torch import nn

from wnrl.weight_norm.formed_weights import form_together
from wnrl.weight_norm.normalized_layer import NormalizedLayer


class NormalizedPart(BasePolicy):
    """Mixed in before a class of the host's parts, so that normalized layers are saved and loaded.

    Args:
        arguments: of the host's part.
        layers: normalized layers, by the names of the plain layers that they replace.
        keywords: of the host's part.
    """

    def __init__(self, *arguments: Any, layers: Mapping[str, nn.Module], **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        for name, layer in layers.items():
            parent, _, child = name.rpartition(".")
            self.get_submodule(parent)._modules[child] = layer
        form_together(self)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "layers": dict(_layers(self))}

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickled by the host's class, since this one is not a name in any module."""
        host = type(self).__bases__[1]
        return _empty, (host,), super().__reduce_ex__(2)[2]


@functools.cache
def part_class(host: type[BasePolicy]) -> type[NormalizedPart]:
    """The normalized version of the host's class, as in `part_class(Actor).load("actor.zip")`."""
    return type(host.__name__, (NormalizedPart, host), {"__doc__": f"`{host.__module__}.{host.__name__}`, normalized."})


def normalize_parts(policy: BasePolicy) -> None:
    """Change the classes of the parts of a normalized policy to those that save and load its layers."""
    for part in policy.modules():
        if isinstance(part, BasePolicy) and part is not policy:
            part.__class__ = part_class(type(part))


def _layers(part: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Normalized layers by name, without nested ones and those of the features extractor, which is saved as a whole."""
    for name, child in part.named_children():
        if isinstance(child, NormalizedLayer):
            yield prefix + name, child
        elif prefix + name != "features_extractor":
            yield from _layers(child, f"{prefix}{name}.")


def _empty(host: type[BasePolicy]) -> NormalizedPart:
    kind = part_class(host)
    return kind.__new__(kind)
