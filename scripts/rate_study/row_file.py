"""What a study has found, in a CSV file: what is in it is not made again."""

from __future__ import annotations

import csv
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from agents.training.run_lock import RunLock
from wnrl.checkpoints.files import replacing

Row = TypeVar("Row")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """A context in which no other process writes into a study's folder, which is created.

    Raises:
        ValueError: another process does (the message names it), or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write the study to {folder}: {error.strerror}") from error
    lock = RunLock(folder)
    try:
        yield
    finally:
        lock.release()


class RowFile(Generic[Row]):
    """The rows so far; the file is written anew, as a whole, with each addition. Subclasses say what a row is.

    What another process adds meanwhile would be lost: whoever adds reads the file and writes it in one `held` folder.

    Args:
        path: of the file, which the first addition creates. An incomplete last line is dropped.

    Attributes:
        path: of the file.
        rows: by key.

    Raises:
        ValueError: the file holds something else, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[Hashable, Row] = {}
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            for line in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
                row = self.from_line(line)
                self.rows[self.key(row)] = row
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise ValueError(f"{path} was made by something else: choose another folder ({error!r})") from error
        except OSError as error:
            raise ValueError(f"cannot read {path}: {error.strerror}") from error

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows.

        Raises:
            ValueError: the file cannot be written.
        """
        self.rows |= {self.key(row): row for row in rows}
        lines = [self.to_line(row) for row in self.rows.values()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(lines)
        except OSError as error:
            raise ValueError(f"cannot write {self.path}: {error.strerror}") from error

    def key(self, row: Row) -> Hashable:
        """By which a row is found; a row with the same one takes its place."""
        raise NotImplementedError

    def to_line(self, row: Row) -> dict[str, Any]:
        """The cells of a row by column."""
        raise NotImplementedError

    def from_line(self, line: dict[str, str]) -> Row:
        """The row of such cells.

        Raises:
            KeyError, TypeError, ValueError: they are none.
        """
        raise NotImplementedError
