"""Where a run's figures go: TensorBoard events and a CSV file with the same scalars."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor


class Tracker(Protocol):
    """Takes scalars by tag; `step` counts environment steps."""

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Record `scalars` at `step`."""

    def close(self) -> None:
        """Flush and close."""


class NullTracker:
    """A tracker that keeps nothing."""

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Ignore them."""

    def close(self) -> None:
        """Nothing to close."""


class RunTracker:
    """Writes each scalar to TensorBoard events and to `progress.csv` in one folder.

    Args:
        folder: the run directory.
        resume_step: in steps; what an earlier session wrote after it is dropped, so that both curves go on from there.
    """

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter  # half a second to import: only where it is used

        purge = None if resume_step is None else resume_step + 1
        self._events = SummaryWriter(str(folder), purge_step=purge)
        self._table = CsvTable(folder / "progress.csv", resume_step)

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Record `scalars` at `step`."""
        for tag, value in scalars.items():
            self._events.add_scalar(tag, value, step)
        self._table.append({"step": step, **scalars})
        self._events.flush()

    def close(self) -> None:
        """Flush and close."""
        self._events.close()


class CsvTable:
    """A CSV file whose columns may grow: a row with a new name widens the table.

    Args:
        path: the file; rows that it already holds are kept up to `last_step`.
        last_step: rows of an earlier session with a larger `step` are dropped; None starts empty.
    """

    def __init__(self, path: Path, last_step: int | None = None) -> None:
        self._path = path
        self._columns: list[str] = []
        kept: list[dict[str, str]] = []
        if last_step is not None and path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                kept = [row for row in reader if int(row["step"]) <= last_step]
                self._columns = list(reader.fieldnames or [])
        self._rewrite(kept)

    def append(self, row: Mapping[str, float]) -> None:
        """Add one row; columns that it lacks stay empty."""
        new = [name for name in row if name not in self._columns]
        if new:
            rows = self._read()
            self._columns += new
            self._rewrite(rows)
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(dict(row))

    def _read(self) -> list[dict[str, str]]:
        with self._path.open(newline="") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        beside = self._path.with_suffix(".tmp")
        with beside.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(beside, self._path)


class Means:
    """Means of 0-dim tensors since the last reading; adding never waits for the device."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sums: Tensor | None = None
        self._count = 0

    def add(self, figures: Mapping[str, Tensor]) -> None:
        """Add one set of 0-dim tensors, with the same names each time."""
        self.accumulate(figures)
        self.count(1)

    def accumulate(self, figures: Mapping[str, Tensor]) -> None:
        """The part of `add` that the device does, in place: `count` has to follow."""
        values = torch.stack([value.detach().float() for value in figures.values()])
        self._names = list(figures)
        if self._sums is None or (not self._count and self._sums.shape != values.shape):
            self._sums = torch.zeros_like(values)
        elif self._sums.device != values.device:  # they come from a file
            self._sums = self._sums.to(values.device)
        self._sums += values

    def count(self, sets: int) -> None:
        """The part of `add` that the host does, for so many sets."""
        self._count += sets

    def read(self) -> dict[str, float]:
        """The means since the last reading, empty when nothing was added; starts afresh."""
        if self._sums is None or not self._count:
            return {}
        means = (self._sums / self._count).tolist()
        self._sums.zero_()
        self._count = 0
        return dict(zip(self._names, means, strict=True))

    def get_state(self) -> dict[str, object]:
        """The sums so far."""
        return {"names": self._names, "sums": self._sums, "count": self._count}

    def set_state(self, state: Mapping[str, object]) -> None:
        """Go on from `get_state`'s sums."""
        self._names = list(state["names"])  # type: ignore[call-overload]
        sums = state["sums"]
        self._sums = sums.clone() if isinstance(sums, Tensor) else None
        self._count = int(state["count"])  # type: ignore[call-overload]
