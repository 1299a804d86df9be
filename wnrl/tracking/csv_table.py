"""A table in a CSV file that grows in rows and columns."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from wnrl.checkpoints.files import CheckpointError, open_file, replacing

_STEP = re.compile("[0-9]{1,18}")


class Rows(NamedTuple):
    """What is in a table."""

    columns: list[str]
    """None where the first line names no `step`."""
    rows: list[dict[str, str]]
    dropped: int
    """Lines that are no row."""


def read_rows(path: Path) -> Rows:
    """The rows of a table, each with a whole number as its `step` and numbers or nothing in the other columns.

    What else is in the file is dropped, such as what is left at its end where the disk was full or the power failed.

    Raises:
        CheckpointError: there is no such file.
    """
    with open_file(path) as file:
        first, *lines = file.read().split(b"\n")
    columns = _cells(first) or []
    if "step" not in columns or len(set(columns)) < len(columns):
        return Rows([], [], sum(bool(line.strip()) for line in [first, *lines]))
    rows, dropped = [], int(bool(lines and lines.pop()))  # what does not end in a line break was not written to its end
    for line in lines:
        cells = _cells(line)
        if cells is not None and len(cells) == len(columns) and _is_row(row := dict(zip(columns, cells, strict=True))):
            rows.append(row)
        else:
            dropped += bool(line.strip())
    return Rows(columns, rows, dropped)


class CsvTable:
    """A CSV file with one row a step, to which values with new columns can be added.

    A row is written whole or, where that fails, not at all.

    Args:
        path: the file. One whose columns are damaged is kept, with `.damaged` after its name.
        last_step: rows that the file already has are kept up to this `step`; None starts an empty table.

    Attributes:
        dropped: lines of the file that were no row.
    """

    def __init__(self, path: Path, last_step: int | None = None) -> None:
        self._path = path
        self._columns: list[str] = []
        self._last: dict[str, str] = {}  # the last row
        self._start = 0  # of the last row, in bytes
        self.dropped = 0
        kept: list[dict[str, str]] = []
        if last_step is not None and path.exists():
            self._columns, rows, self.dropped = read_rows(path)
            kept = [row for row in rows if int(row["step"]) <= last_step]
            if self.dropped and not self._columns:
                os.replace(path, path.with_name(f"{path.name}.damaged"))
        self._rewrite(kept, self._columns)

    def append(self, row: Mapping[str, float]) -> None:
        """Append a row, or add its values to the last row where that is of the same `step`.

        Columns that it lacks stay empty; of two values in a column, the later one stays.

        Raises:
            OSError: it cannot be written; the table is as it was.
        """
        values = {name: str(value) for name, value in row.items()}
        if new := [name for name in row if name not in self._columns]:
            self._rewrite([*self._rows(), values], [*self._columns, *new])
            return
        same = self._last.get("step") == values["step"]
        last = {**self._last, **values} if same else values
        with self._path.open("r+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            start = self._start if same else end
            try:
                _write(file, start, _line(last, self._columns))
                file.truncate()
            except OSError:
                with suppress(OSError):
                    if same:  # where it was, so that it has its space
                        _write(file, start, _line(self._last, self._columns))
                    file.truncate(end)
                raise
        self._start, self._last = start, last

    def _rows(self) -> list[dict[str, str]]:
        try:
            return read_rows(self._path).rows
        except CheckpointError as error:
            raise OSError(str(error)) from error

    def _rewrite(self, rows: Sequence[Mapping[str, str]], columns: list[str]) -> None:
        """Write the whole table; rows of one step, which older versions wrote, become one."""
        merged: dict[str, dict[str, str]] = {}
        for row in rows:
            merged.setdefault(row["step"], {}).update({name: value for name, value in row.items() if value})
        start, last = 0, {}
        with replacing(self._path) as temporary, temporary.open("wb") as file:
            file.write(_line(dict(zip(columns, columns, strict=True)), columns))
            for last in merged.values():
                start = file.tell()
                file.write(_line(last, columns))
        self._columns, self._start, self._last = columns, start, last


def _write(file: io.FileIO, start: int, line: bytes) -> None:
    file.seek(start)
    while line:  # a disk that becomes full takes a part
        line = line[file.write(line) :]


def _line(row: Mapping[str, str], columns: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.DictWriter(text, columns).writerow(row)
    return text.getvalue().encode()


def _cells(line: bytes) -> list[str] | None:
    """The cells of a line; None where it is no text."""
    try:
        return next(csv.reader([line.decode().rstrip("\r")], strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        return None


def _is_row(row: Mapping[str, str]) -> bool:
    try:
        numbers = [float(cell) for cell in row.values() if cell]
    except ValueError:
        return False
    return bool(numbers) and _STEP.fullmatch(row["step"]) is not None
