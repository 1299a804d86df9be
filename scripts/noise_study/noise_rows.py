"""What a study of minibatch noise has measured, in a CSV file: a run that is in it is not trained again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from noise_study.companies import Deviation, Noise
from noise_study.noise_runs import NoiseRow, NoiseRun, Plan, train
from noise_study.noise_table import Study
from rate_study.parallel import in_parallel
from rate_study.row_file import RowFile


class NoiseRows(RowFile[NoiseRow]):
    """The rows so far, by run, step and batch size."""

    def has(self, plan: Plan) -> bool:
        """Whether everything that is planned for a run was measured."""
        return all(key in self.rows for key in _keys(plan))

    def of(self, plan: Plan) -> list[NoiseRow]:
        """The rows of a run, by step and batch size."""
        return [self.rows[key] for key in _keys(plan)]

    def key(self, row: NoiseRow) -> Key:
        """See the base class; so the others."""
        return row.run, row.step, row.batch_size

    def to_line(self, row: NoiseRow) -> dict[str, Any]:
        """With the shares, for readers of the file."""
        line = {**asdict(row.run), "step": row.step, "batch_size": row.batch_size}
        for name, deviation in row.noise._asdict().items():
            line |= {f"{name}_noise": deviation.noise, f"{name}_over_companies": deviation.over_companies}
            line[f"{name}_over_states"] = deviation.over_states
        return {**line, "score": row.score, "agents_batch": row.agents_batch}

    def from_line(self, line: dict[str, str]) -> NoiseRow:
        """Without the shares, which follow from the rest."""
        whole = {name: int(line[name]) for name in ("seed", "steps", "states", "companies", "step", "batch_size")}
        step, batch_size = whole.pop("step"), whole.pop("batch_size")
        rate = float(line["learning_rate"]) if line["learning_rate"] else None
        run = NoiseRun(env=line["env"], norm=line["norm"], learning_rate=rate, **whole)
        deviations = [
            Deviation(float(line[f"{name}_over_companies"]), float(line[f"{name}_over_states"]))
            for name in Noise._fields
        ]
        return NoiseRow(run, step, batch_size, Noise(*deviations), float(line["score"]), int(line["agents_batch"]))


Key = tuple[NoiseRun, int, int]


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
