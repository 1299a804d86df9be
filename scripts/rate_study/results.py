"""Outcomes of a study of learning rates: trained in parallel processes, stored in a file, never trained twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from typing import Any

from rate_study.parallel import in_parallel
from rate_study.row_file import RowFile
from rate_study.study import Outcome, StudyRun, train_once


class Results(RowFile[Outcome]):
    """The outcomes so far, one row each, by run."""

    def key(self, row: Outcome) -> StudyRun:
        """See the base class; so the others."""
        return row.run

    def to_line(self, row: Outcome) -> dict[str, Any]:
        """With what curve and losses say, for readers of the file."""
        figures = {name: value for name, value in row._asdict().items() if name not in ("run", "curve")}
        line = {**asdict(row.run), "diverged": int(row.diverged), "loss": row.loss, **figures}
        return {**line, "seconds": f"{row.seconds:.2f}", "curve": " ".join(map(str, row.curve))}

    def from_line(self, line: dict[str, str]) -> Outcome:
        """Without what follows from curve and losses."""
        kinds = {"rate": float, "seed": int, "epochs": int}
        run = StudyRun(**{field.name: kinds.get(field.name, str)(line[field.name]) for field in fields(StudyRun)})
        curve = tuple(map(float, line["curve"].split()))
        return Outcome(run, curve, *(float(line[name]) for name in ("full_loss", "test_loss", "test_error", "seconds")))


def complete(results: Results, runs: Iterable[StudyRun], jobs: int, say: Callable[[str], Any] = print) -> list[Outcome]:
    """Train the runs that `results` does not hold yet, and return the outcomes of all.

    Args:
        results: get each outcome as soon as it is there.
        runs: all runs of the study.
        jobs: parallel processes, each with one thread.
        say: called with a line of text per run.

    Raises:
        ValueError: `jobs` is below 1, or the results cannot be written.
    """
    wanted = list(runs)
    missing = [run for run in wanted if run not in results.rows]
    for number, outcome in enumerate(in_parallel(train_once, missing, jobs), 1):
        results.add([outcome])
        run, ending = outcome.run, "diverged" if outcome.diverged else f"loss {outcome.loss:.4g}"
        say(f"{number} of {len(missing)}: {run.task}, {run.norm}, rate {run.rate:g}, seed {run.seed}: {ending}")
    return [results.rows[run] for run in wanted]
