"""Outcomes of a study of learning rates: trained in parallel processes, stored in a file, never trained twice."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rate_study.parallel import in_parallel
from rate_study.study import Outcome, StudyRun, train_once


class Results:
    """The outcomes so far, one row each in a CSV file that is only appended to.

    Args:
        path: of the file, which the first outcome creates. An incomplete last row is dropped.

    Raises:
        ValueError: the file holds something else, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes: dict[StudyRun, Outcome] = {}
        try:
            text = path.read_text() if path.exists() else ""
            whole = text[: text.rfind("\n") + 1]
            if whole != text:
                path.write_text(whole)
            for row in csv.DictReader(whole.splitlines()):
                outcome = _from_row(row)
                self.outcomes[outcome.run] = outcome
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} was made by something else: choose another folder ({error!r})") from error
        except OSError as error:
            raise ValueError(f"cannot read {path}: {error.strerror}") from error

    def add(self, outcome: Outcome) -> None:
        """Write a row.

        Raises:
            ValueError: the file cannot be written.
        """
        row = _to_row(outcome)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", newline="") as file:
                writer = csv.DictWriter(file, list(row), lineterminator="\n")
                if not file.tell():
                    writer.writeheader()
                writer.writerow(row)
        except OSError as error:
            raise ValueError(f"cannot write {self.path}: {error.strerror}") from error
        self.outcomes[outcome.run] = outcome


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
    missing = [run for run in wanted if run not in results.outcomes]
    for number, outcome in enumerate(in_parallel(train_once, missing, jobs), 1):
        results.add(outcome)
        run, ending = outcome.run, "diverged" if outcome.diverged else f"loss {outcome.loss:.4g}"
        say(f"{number} of {len(missing)}: {run.task}, {run.norm}, rate {run.rate:g}, seed {run.seed}: {ending}")
    return [results.outcomes[run] for run in wanted]


def _to_row(outcome: Outcome) -> dict[str, Any]:
    figures = {name: value for name, value in outcome._asdict().items() if name not in ("run", "curve")}
    row = {**asdict(outcome.run), "diverged": int(outcome.diverged), "loss": outcome.loss, **figures}
    return {**row, "seconds": f"{outcome.seconds:.2f}", "curve": " ".join(map(str, outcome.curve))}


def _from_row(row: dict[str, str]) -> Outcome:
    kinds = {"rate": float, "seed": int, "epochs": int}
    run = StudyRun(**{field.name: kinds.get(field.name, str)(row[field.name]) for field in fields(StudyRun)})
    curve = tuple(map(float, row["curve"].split()))
    return Outcome(run, curve, *(float(row[name]) for name in ("full_loss", "test_loss", "test_error", "seconds")))
