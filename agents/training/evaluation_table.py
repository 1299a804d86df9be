"""The scores of every game of a run's evaluations, in `evaluations.csv`."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path

from agents.training.evaluation import Scores
from wnrl.checkpoints.files import replacing
from wnrl.tracking.csv_table import read_rows

NAME = "evaluations.csv"
COLUMNS = ("step", "wall_time", "seed", "game", "score", "length")


class EvaluationTable:
    """A CSV file with a row for each game, which begins empty.

    Its columns: the step whose network played, the seconds since the epoch at which its games had ended, the seed of
    the environments, the number of the game in the order in which they ended, its score and its length in steps.

    Args:
        folder: of the run.
        last_step: rows up to this step, which the file already has, are kept; None keeps none. A file whose columns
            are damaged is kept, with `.damaged` after its name.
        message: called with a line of text where lines of the file are no rows, and are dropped.
    """

    def __init__(
        self, folder: Path, last_step: int | None = None, message: Callable[[str], None] = lambda text: None
    ) -> None:
        self._path, self._rows = folder / NAME, list[dict[str, str]]()
        if last_step is not None and self._path.exists():
            columns, rows, dropped = read_rows(self._path)
            self._rows = [row for row in rows if int(row["step"]) <= last_step]
            if dropped and not columns:
                os.replace(self._path, self._path.with_name(f"{NAME}.damaged"))
            if dropped:
                message(f"{self._path}: {dropped} damaged lines are dropped")
        self._write(self._rows)

    def append(self, step: int, wall_time: float, seed: int, scores: Scores) -> None:
        """Add the games of an evaluation, instead of those of an earlier one at this step.

        Raises:
            OSError: it cannot be written; the file is as it was.
        """
        games = zip(scores.scores, scores.lengths, strict=True)
        new = [
            dict(zip(COLUMNS, map(str, (step, round(wall_time, 3), seed, number, *game)), strict=True))
            for number, game in enumerate(games)
        ]
        rows = [*(row for row in self._rows if row["step"] != str(step)), *new]
        self._write(rows)
        self._rows = rows

    def _write(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        with replacing(self._path) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")


def count_evaluations(folder: Path) -> int:
    """How many evaluations with a score a run has had, by its tables; those of older runs are in `progress.csv`."""
    steps: set[str] = set()
    for name, column in ((NAME, "score"), ("progress.csv", "eval/mean_reward")):
        if (folder / name).is_file():
            steps |= {row["step"] for row in read_rows(folder / name).rows if row.get(column)}
    return len(steps)
