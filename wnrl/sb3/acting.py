"""Acting at the cost of plain layers: while a policy acts, folded layers stand in the places of its normalized ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from wnrl.normalized_layer import NormalizedLayer


class _Place(NamedTuple):
    """Where a normalized layer stands, and what stands there while the network acts."""

    parent: nn.Module
    name: str
    layer: NormalizedLayer
    folded: nn.Module


class Acting:
    """Folded twins of the normalized layers of a network, made when it first acts and kept up to date.

    Twins are brought up to date when a parameter or a running statistic has changed, or got another storage, since they
    were used last. What is written through `tensor.data` cannot be seen: `forget` after it.

    Args:
        network: any module, in whose places the twins stand while it acts.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._places: list[_Place] = []
        self._seen: list[tuple[int, int]] | None = None

    def forget(self) -> None:
        """Bring the twins up to date before they are used again."""
        self._seen = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """A context in which the folded layers stand in the network; to be used without gradients."""
        self._refresh()
        try:
            for parent, name, _, folded in self._places:
                parent._modules[name] = folded
            yield
        finally:
            for parent, name, layer, _ in self._places:
                parent._modules[name] = layer

    @torch.no_grad()
    def _refresh(self) -> None:
        seen = self._versions()
        if seen is not None and seen == self._seen:
            return
        if self._seen is None:
            self._places = list(_places(self._network))
        for place in self._places:
            values = place.layer.folded()
            for name, parameter in place.folded.named_parameters():
                parameter.copy_(values[name])
        self._seen = self._versions()

    def _versions(self) -> list[tuple[int, int]]:
        """What changes with each tensor that the twins are made of."""
        return [(t._version, t.data_ptr()) for place in self._places for t in place.layer.state_dict().values()]

    def __getstate__(self) -> dict[str, Any]:
        """The network alone: a copy makes twins of its own."""
        return {"_network": self._network, "_places": [], "_seen": None}


def _places(network: nn.Module) -> Iterator[_Place]:
    twins: dict[nn.Module, nn.Module] = {}
    for parent in list(network.modules()):
        if isinstance(parent, NormalizedLayer):
            continue
        for name, layer in parent._modules.items():
            if isinstance(layer, NormalizedLayer):
                folded = twins.setdefault(layer, layer.fold().eval())
                if not isinstance(folded, NormalizedLayer):
                    yield _Place(parent, name, layer, folded)
