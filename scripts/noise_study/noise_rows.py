"""What a study of minibatch noise has measured, in a CSV file: a run that is in it is not trained again."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from noise_study.companies import Deviation, Noise
from noise_study.noise_runs import NoiseRow, NoiseRun, Plan, train
from noise_study.noise_table import Study
from rate_study.parallel import in_parallel

from wnrl.checkpoints.files import replacing

Key = tuple[NoiseRun, int, int]  # run, step and batch size


class NoiseRows:
    """The rows so far; the file is written anew, as a whole, with each run.

    Args:
        path: of the file, which the first run creates.

    Raises:
        ValueError: the file holds something else, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[Key, NoiseRow] = {}
        try:
            lines = path.read_text().splitlines() if path.exists() else []
            for line in csv.DictReader(lines):
                self._put(_from_line(line))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} was made by something else: choose another folder ({error!r})") from error
        except OSError as error:
            raise ValueError(f"cannot read {path}: {error.strerror}") from error

    def has(self, plan: Plan) -> bool:
        """Whether everything that is planned for a run was measured."""
        return all(key in self.rows for key in _keys(plan))

    def of(self, plan: Plan) -> list[NoiseRow]:
        """The rows of a run, by step and batch size."""
        return [self.rows[key] for key in _keys(plan)]

    def add(self, rows: Sequence[NoiseRow]) -> None:
        """Write the rows of a run.

        Raises:
            ValueError: the file cannot be written.
        """
        for row in rows:
            self._put(row)
        lines = [_to_line(row) for row in self.rows.values()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as temporary, temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(lines)
        except OSError as error:
            raise ValueError(f"cannot write {self.path}: {error.strerror}") from error

    def _put(self, row: NoiseRow) -> None:
        self.rows[row.run, row.step, row.batch_size] = row


def complete(rows: NoiseRows, plans: Iterable[Plan], jobs: int, say: Callable[[str], Any] = print) -> list[NoiseRow]:
    """Train the runs that `rows` does not hold yet, and return the rows of all.

    Args:
        rows: get those of each run as soon as it has ended.
        plans: all runs of the study.
        jobs: parallel processes, each with one thread.
        say: called with a line of text per run.

    Raises:
        ValueError: `jobs` is below 1, or the rows cannot be written.
    """
    wanted = list(plans)
    missing = [plan for plan in wanted if not rows.has(plan)]
    for number, found in enumerate(in_parallel(train, missing, jobs), 1):
        rows.add(found)
        last = next(row for row in reversed(found) if row.batch_size == Study(found).learning_batch)
        run, noise = last.run, f"noise of Q {last.noise.q.noise:.2g} at batch size {last.batch_size}"
        say(f"{number} of {len(missing)}: {run.env}, {run.norm}, seed {run.seed}: score {last.score:.4g}, {noise}")
    return [row for plan in wanted for row in rows.of(plan)]


def _keys(plan: Plan) -> list[Key]:
    return [(plan.run, step, batch_size) for step in plan.steps for batch_size in plan.batch_sizes]


def _to_line(row: NoiseRow) -> dict[str, Any]:
    line = {**asdict(row.run), "step": row.step, "batch_size": row.batch_size}
    for name, deviation in row.noise._asdict().items():
        line |= {f"{name}_noise": deviation.noise, f"{name}_over_companies": deviation.over_companies}
        line[f"{name}_over_states"] = deviation.over_states
    return {**line, "score": row.score, "agents_batch": row.agents_batch}


def _from_line(line: dict[str, str]) -> NoiseRow:
    whole = {name: int(line[name]) for name in ("seed", "steps", "states", "companies", "step", "batch_size")}
    step, batch_size = whole.pop("step"), whole.pop("batch_size")
    rate = float(line["learning_rate"]) if line["learning_rate"] else None
    run = NoiseRun(env=line["env"], norm=line["norm"], learning_rate=rate, **whole)
    deviations = [
        Deviation(float(line[f"{name}_over_companies"]), float(line[f"{name}_over_states"])) for name in Noise._fields
    ]
    return NoiseRow(run, step, batch_size, Noise(*deviations), float(line["score"]), int(line["agents_batch"]))
