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
        self._numbers: list[float] | None = None  # on the CPU instead of `_sums`: reading them there takes no waiting
        self.sets = 0

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Add 0-dim tensors by name, with the same names each time."""
        self.accumulate(metrics)
        self.sets += 1

    def accumulate(self, metrics: Mapping[str, Tensor]) -> None:
        """The device's part of `add`, in place, so that a graph can capture it; `sets` has to be increased."""
        if all([value.is_cpu for value in metrics.values()]):
            self._accumulate_on_the_host(metrics)
            return
        values = torch.stack([value.detach().float() for value in metrics.values()])
        self._names = list(metrics)
        if self._sums is None or (not self.sets and self._sums.shape != values.shape):
            self._sums = torch.zeros_like(values)
        elif self._sums.device != values.device:  # they were loaded
            self._sums = self._sums.to(values)
        self._sums += values

    def _accumulate_on_the_host(self, metrics: Mapping[str, Tensor]) -> None:
        if torch._C._len_torch_dispatch_stack():  # a mode records operations: none of them is to read a number
            values = [float(value.detach().numpy()) for value in metrics.values()]
        else:
            values = [float(value.item()) for value in metrics.values()]
        if self._sums is not None:  # they were loaded
            self._numbers, self._sums = self._sums.tolist(), None
        if self._numbers is not None and (self.sets or len(self._numbers) == len(values)):
            values = [total + value for total, value in zip(self._numbers, values, strict=True)]
        self._names, self._numbers = list(metrics), values

    def read(self) -> dict[str, float]:
        """The means since the last call, empty if nothing was added; the sums are reset."""
        if not self.sets:
            return {}
        if self._numbers is not None:
            means, self._numbers = [total / self.sets for total in self._numbers], None
        elif self._sums is not None:
            means = (self._sums / self.sets).tolist()
            self._sums.zero_()
        else:
            return {}
        self.sets = 0
        return dict(zip(self._names, means, strict=True))

    def get_state(self) -> dict[str, object]:
        """The sums so far."""
        sums = self._sums if self._numbers is None else torch.tensor(self._numbers, dtype=torch.float64)
        return {"names": self._names, "sums": sums, "count": self.sets}

    def set_state(self, state: Mapping[str, object]) -> None:
        """Continue from a state that `get_state` returned."""
        self._names = list(state["names"])  # type: ignore[call-overload]
        sums = state["sums"]
        self._sums, self._numbers = sums.clone() if isinstance(sums, Tensor) else None, None
        self.sets = int(state["count"])  # type: ignore[call-overload]
