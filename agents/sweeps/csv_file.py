"""The CSV files of a sweep."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from wnrl.checkpoints.files import replace_file


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows, the line of names first, in place of what is there.

    Raises:
        CheckpointError: it cannot be written; what was at `path` is untouched.
    """

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    replace_file(path, write)
