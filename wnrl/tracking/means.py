"""Running means of metrics, kept on the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Means:
    """Means of 0-dim tensors since they were last read; adding does not synchronize with the device.

    Attributes:
        sets: how many sets of tensors were added, which `accumulate` leaves to its caller.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sums: Tensor | None = None
        self.sets = 0

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Add 0-dim tensors by name, with the same names each time."""
        self.accumulate(metrics)
        self.sets += 1

    def accumulate(self, metrics: Mapping[str, Tensor]) -> None:
        """The device's part of `add`, in place, so that a graph can capture it; `sets` has to be increased."""
        values = torch.stack([value.detach().float() for value in metrics.values()])
        self._names = list(metrics)
        if self._sums is None or (not self.sets and self._sums.shape != values.shape):
            self._sums = torch.zeros_like(values)
        elif self._sums.device != values.device:  # they were loaded
            self._sums = self._sums.to(values.device)
        self._sums += values

    def read(self) -> dict[str, float]:
        """The means since the last call, empty if nothing was added; the sums are reset."""
        if self._sums is None or not self.sets:
            return {}
        means = (self._sums / self.sets).tolist()
        self._sums.zero_()
        self.sets = 0
        return dict(zip(self._names, means, strict=True))

    def get_state(self) -> dict[str, object]:
        """The sums so far."""
        return {"names": self._names, "sums": self._sums, "count": self.sets}

    def set_state(self, state: Mapping[str, object]) -> None:
        """Continue from a state that `get_state` returned."""
        self._names = list(state["names"])  # type: ignore[call-overload]
        sums = state["sums"]
        self._sums = sums.clone() if isinstance(sums, Tensor) else None
        self.sets = int(state["count"])  # type: ignore[call-overload]
