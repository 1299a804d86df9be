"""Trackers: where a run writes its scalars, TensorBoard events and a CSV file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from wnrl.tracking.csv_table import CsvTable


class Tracker(Protocol):
    """Records scalars by tag."""

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Record scalars by tag at environment step `step`."""

    def text(self, tag: str, text: str) -> None:
        """Record a text by tag, for the whole run."""

    def close(self) -> None:
        """Flush and close."""


class NullTracker:
    """A tracker that records nothing."""

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Do nothing."""

    def text(self, tag: str, text: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class RunTracker:
    """A tracker that writes each scalar to TensorBoard events and to `progress.csv`, which has one row a step.

    Args:
        folder: the run directory.
        resume_step: the environment step from which a resumed run continues: what was written for later steps is
            dropped; None starts an empty table.
    """

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes half a second: imported only where it is used

        purge = None if resume_step is None else resume_step + 1
        self._events = SummaryWriter(str(folder), purge_step=purge)
        self._table = CsvTable(folder / "progress.csv", resume_step)

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Record scalars by tag at environment step `step`."""
        for tag, value in scalars.items():
            self._events.add_scalar(tag, value, step)
        self._table.append({"step": step, **scalars})
        self._events.flush()

    def text(self, tag: str, text: str) -> None:
        """Record a text by tag, for the whole run, in TensorBoard's events alone."""
        self._events.add_text(tag, text, 0)

    def close(self) -> None:
        """Flush and close."""
        self._events.close()
