"""A table in a CSV file that grows in rows and columns."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path


class CsvTable:
    """A CSV file with one row a step, to which values with new columns can be added.

    Args:
        path: the file.
        last_step: rows that the file already has are kept up to this `step`; None starts an empty table.
    """

    def __init__(self, path: Path, last_step: int | None = None) -> None:
        self._path = path
        self._columns: list[str] = []
        self._last: dict[str, str] = {}  # the last row
        self._start = 0  # of the last row, in bytes
        kept: list[dict[str, str]] = []
        if last_step is not None and path.exists():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                kept = [row for row in reader if int(row["step"]) <= last_step]
                self._columns = list(reader.fieldnames or [])
        self._rewrite(kept)

    def append(self, row: Mapping[str, float]) -> None:
        """Append a row, or add its values to the last row where that is of the same `step`.

        Columns that it lacks stay empty; of two values in a column, the later one stays.
        """
        values = {name: str(value) for name, value in row.items()}
        if new := [name for name in row if name not in self._columns]:
            with self._path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            self._columns += new
            self._rewrite([*rows, values])
            return
        same = self._last.get("step") == values["step"]
        self._last = {**self._last, **values} if same else values
        with self._path.open("r+b") as file:
            self._start = file.seek(self._start) if same else file.seek(0, os.SEEK_END)
            file.write(self._line(self._last))
            file.truncate()

    def _line(self, row: Mapping[str, str]) -> bytes:
        text = io.StringIO()
        csv.DictWriter(text, self._columns).writerow(row)
        return text.getvalue().encode()

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        """Write the whole table; rows of one step, which older versions wrote, become one."""
        merged: dict[str, dict[str, str]] = {}
        for row in rows:
            merged.setdefault(row["step"], {}).update({name: value for name, value in row.items() if value})
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(self._line(dict(zip(self._columns, self._columns, strict=True))))
            for row in merged.values():
                self._start, self._last = file.tell(), row
                file.write(self._line(row))
        os.replace(temporary, self._path)
