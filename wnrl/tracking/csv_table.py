"""A table in a CSV file that grows in rows and columns."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path


class CsvTable:
    """A CSV file to which rows with new columns can be appended.

    Args:
        path: the file.
        last_step: rows that the file already has are kept up to this `step`; None starts an empty table.
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
        """Append a row; columns that it lacks stay empty."""
        new = [name for name in row if name not in self._columns]
        if new:
            with self._path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            self._columns += new
            self._rewrite(rows)
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(dict(row))

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(temporary, self._path)
