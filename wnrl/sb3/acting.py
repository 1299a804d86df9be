"""Acting at the cost of plain layers: while a policy acts, folded layers stand in the places of its normalized ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wnrl.normalized_layer import NormalizedLayer


class _Place(NamedTuple):
    """Where a normalized layer stands, and what stands there while the network acts."""

    modules: dict[str, nn.Module | None]  # of the parent
    name: str
    layer: NormalizedLayer
    folded: nn.Module


class Acting:
    """A context in which folded twins stand in the places of a network's normalized layers; for use without gradients.

    Twins are made when the network first acts, and brought up to date when a parameter or a running statistic has
    changed, or its storage has, since they were used last. What is written through `tensor.data`, or by another
    parameter in the place of the old, cannot be seen: `forget` after it. A layer that was put in the place of another
    stays. Target networks do not act and have no twins. Inside the context, entering it again changes nothing.

    Args:
        network: any module, in whose places the twins stand while it acts.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._depth = 0
        self._places: list[_Place] | None = None
        self._tensors: list[Tensor] = []
        self._versions: list[int] | None = None

    def forget(self) -> None:
        """Bring the twins up to date before they are used again; all layers are in their places, come what may."""
        self._versions, self._depth = None, 0
        self._put_back()

    def __enter__(self) -> None:
        """Put the twins in the network."""
        self._depth += 1
        if self._depth > 1:
            return
        try:
            self._put_in()
        except BaseException:  # a keyboard interrupt too
            self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        """Put the layers back."""
        self._depth -= 1
        if self._depth <= 0:
            self._put_back()

    def _put_in(self) -> None:
        versions = self._versions
        if versions is None or versions != self._current_versions() or not all(map(_holds, self._places or [])):
            self._refresh()
        for modules, name, _, folded in self._places or []:
            modules[name] = folded

    def _put_back(self) -> None:
        for modules, name, layer, folded in self._places or []:
            if modules.get(name) is folded:
                modules[name] = layer

    def _current_versions(self) -> list[int] | None:
        """What changes with the tensors that the twins are made of; None where nothing does (inference tensors)."""
        tensors = self._tensors
        try:
            return [t._version for t in tensors] + [t.data_ptr() for t in tensors]
        except RuntimeError:
            return None

    @torch.inference_mode(False)
    @torch.no_grad()
    def _refresh(self) -> None:
        if self._places is None or not all(_holds(place) and _fits(place) for place in self._places):
            self._places = list(_places(self._network))
        for place in self._places:
            values = place.layer.folded()
            for name, parameter in place.folded.named_parameters():
                parameter.copy_(values[name])
        layers = (place.layer for place in self._places)
        self._tensors = [tensor for layer in layers for tensor in (*layer.parameters(), *layer.buffers())]
        self._versions = self._current_versions()

    def __getstate__(self) -> dict[str, Any]:
        """The network alone: a copy makes twins of its own."""
        return {"_network": self._network}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As new."""
        self.__init__(state["_network"])  # type: ignore[misc]


def _places(network: nn.Module) -> Iterator[_Place]:
    """The places of the layers whose folds are cheaper, outside of target networks."""
    twins: dict[nn.Module, nn.Module] = {}
    for path, parent in network.named_modules():
        if isinstance(parent, NormalizedLayer) or path.partition(".")[0].endswith("_target"):
            continue
        for name, layer in parent._modules.items():
            if isinstance(layer, NormalizedLayer):
                if layer not in twins:
                    twins[layer] = layer.fold().eval()
                if not isinstance(twins[layer], NormalizedLayer):
                    yield _Place(parent._modules, name, layer, twins[layer])


def _holds(place: _Place) -> bool:
    """Whether the layer is still where it was; another may have been put there."""
    return place.modules.get(place.name) is place.layer


def _fits(place: _Place) -> bool:
    """Whether the layer is still of the device and type of its twin."""
    theirs, ours = next(place.layer.parameters()), next(place.folded.parameters())
    return theirs.device == ours.device and theirs.dtype == ours.dtype
