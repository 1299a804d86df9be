"""Acting at the cost of plain layers: while a policy acts, cheaper twins replace its normalized layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wnrl.sb3.scaled_twin import ScaledTwin, can_be_scaled
from wnrl.weight_norm.normalized_layer import NormalizedLayer


class _Place(NamedTuple):
    """A normalized layer in its parent, and the twin that replaces it while the network acts."""

    modules: dict[str, nn.Module | None]  # the parent's
    name: str
    layer: NormalizedLayer
    twin: nn.Module

    def holds(self) -> bool:
        """Whether the layer is still in its parent; it may have been replaced."""
        return self.modules.get(self.name) is self.layer

    def fits(self) -> bool:
        """Whether the layer still has the device and dtype of its twin."""
        if isinstance(self.twin, ScaledTwin):
            return self.twin.fits()
        theirs, ours = next(self.layer.parameters()), next(self.twin.parameters())
        return theirs.device == ours.device and theirs.dtype == ours.dtype

    def refresh(self) -> None:
        """Copy the layer's current values to the twin."""
        if isinstance(self.twin, ScaledTwin):
            self.twin.refresh()
            return
        values = self.layer.folded()
        for name, parameter in self.twin.named_parameters():
            parameter.copy_(values[name])


class Acting:
    """A context in which twins replace a network's normalized layers; for use without gradients.

    A twin is the layer's fold or, where that is cheaper to refresh, a `ScaledTwin`. Twins are made when the network
    first acts, and refreshed when a parameter or running statistic, or its storage, has changed since their last use.
    Changes through `tensor.data` cannot be detected: call `outdate` after them, and `forget` after replacing a
    parameter. If a layer itself is replaced, new twins are made. Target networks do not act and have no twins. The
    context is reentrant.

    Args:
        network: any module; its twins are swapped in while it acts.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._depth = 0
        self._places: list[_Place] | None = None
        self._tensors: list[Tensor] = []  # from which the twins are computed
        self._versions: list[int] | None = None
        self._storages: list[int] = []

    def outdate(self) -> None:
        """Refresh the twins before their next use; puts back all layers in any case."""
        self._versions, self._depth = None, 0
        self._put_back()

    def forget(self) -> None:
        """Make new twins before their next use; puts back all layers in any case."""
        self.outdate()
        self._places = None

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
        versions, storages = self._current()
        moved = storages != self._storages
        if self._places is None or not all(p.holds() and (not moved or p.fits()) for p in self._places):
            self._make_twins()
            versions, storages = self._current()
            moved = True
        if moved or versions is None or versions != self._versions:
            self._refresh()
        self._versions, self._storages = versions, storages
        for modules, name, _, twin in self._places or []:
            modules[name] = twin

    def _put_back(self) -> None:
        for modules, name, layer, twin in self._places or []:
            if modules.get(name) is twin:
                modules[name] = layer

    def _current(self) -> tuple[list[int] | None, list[int]]:
        """The versions of the tensors (None if they are inference tensors, which have none), and their storages."""
        tensors = self._tensors
        storages = [t.data_ptr() for t in tensors]
        try:
            return [t._version for t in tensors], storages
        except RuntimeError:
            return None, storages

    @torch.inference_mode(False)
    def _make_twins(self) -> None:
        self._versions, self._places = None, list(_places(self._network))
        layers = (place.layer for place in self._places)
        self._tensors = [tensor for layer in layers for tensor in (*layer.parameters(), *layer.buffers())]

    @torch.no_grad()
    def _refresh(self) -> None:
        for place in self._places or []:
            place.refresh()

    def __getstate__(self) -> dict[str, Any]:
        """Only the network: a copy makes its own twins."""
        return {"_network": self._network}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Without twins."""
        self.__init__(state["_network"])  # type: ignore[misc]


def _places(network: nn.Module) -> Iterator[_Place]:
    """The places of the layers that have cheaper twins, outside of target networks."""
    twins: dict[nn.Module, nn.Module] = {}
    for path, parent in network.named_modules():
        if isinstance(parent, NormalizedLayer) or path.partition(".")[0].endswith("_target"):
            continue
        for name, layer in parent._modules.items():
            if isinstance(layer, NormalizedLayer):
                if layer not in twins:
                    twins[layer] = ScaledTwin(layer) if can_be_scaled(layer) else layer.fold().eval()
                if not isinstance(twins[layer], NormalizedLayer):
                    yield _Place(parent._modules, name, layer, twins[layer])
