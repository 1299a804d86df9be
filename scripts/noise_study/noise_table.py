"""The table of a study of minibatch noise."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from noise_study.noise_runs import NoiseRow
from rate_study.report import markdown


class Range(NamedTuple):
    """Median, minimum and maximum over seeds, of the values that are numbers; NaN where there is none."""

    median: float
    low: float
    high: float
    known: int
    """Seeds with a number."""
    seeds: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Range:
        """The range of some values, one a seed."""
        values = list(values)
        known = sorted(value for value in values if not math.isnan(value))
        ends = (statistics.median(known), known[0], known[-1]) if known else (math.nan, math.nan, math.nan)
        return cls(*ends, len(known), len(values))

    def __str__(self) -> str:
        if not self.known:
            return "–"
        ends = "" if self.low == self.high else f" ({self.low:.3g}–{self.high:.3g})"
        return f"{self.median:.3g}{ends}" + (f", {self.known} of {self.seeds} seeds" if self.known < self.seeds else "")


class Study:
    """The rows of a study.

    Args:
        rows: at least one; all runs have the same environment, steps and batch sizes.
    """

    def __init__(self, rows: Sequence[NoiseRow]) -> None:
        self.rows = rows
        self.env = rows[0].run.env
        self.norms = list(dict.fromkeys(row.run.norm for row in rows))
        self.steps = sorted({row.step for row in rows})
        self.batch_sizes = sorted({row.batch_size for row in rows})
        self.seeds = len({row.run.seed for row in rows})
        self.learning_batch = min(self.batch_sizes, key=lambda size: abs(math.log(size / rows[0].agents_batch)))
        """The measured size that is next to that with which the agent learns."""

    @property
    def broken(self) -> list[str]:
        """The norms whose Q values have, at the last step and some batch size, no noise in some run."""
        last = self.steps[-1]
        ranges = {norm: [self.range(q_noise, norm, last, size) for size in self.batch_sizes] for norm in self.norms}
        return [norm for norm, found in ranges.items() if any(each.known < each.seeds for each in found)]

    def range(self, figure: Callable[[NoiseRow], float], norm: str, step: int, batch_size: int) -> Range:
        """A figure over the seeds."""
        return Range.of(
            figure(row) for row in self.rows if (row.run.norm, row.step, row.batch_size) == (norm, step, batch_size)
        )


def q_noise(row: NoiseRow) -> float:
    """Of Q values."""
    return row.noise.q.noise


def target_noise(row: NoiseRow) -> float:
    """Of TD targets, if they took the statistics of their minibatch."""
    return row.noise.target.noise


def score(row: NoiseRow) -> float:
    """Of the run, at that step."""
    return row.score


def table(study: Study) -> str:
    """A Markdown table of the last step: noise by normalizer and batch size, and the score."""
    last = study.steps[-1]
    head = ["norm", *(f"Q, {size}" for size in study.batch_sizes)]
    head += [f"targets, {study.learning_batch}", "score"]
    rows = []
    for norm in study.norms:
        cells = [str(study.range(q_noise, norm, last, size)) for size in study.batch_sizes]
        cells += [str(study.range(each, norm, last, study.learning_batch)) for each in (target_noise, score)]
        rows.append([f"`{norm}`", *cells])
    note = (
        f"{study.env}, step {last:,}, {study.seeds} seeds: median (least–greatest). Q, B: standard deviation of Q(s, a)"
        " over minibatches of B that hold s, as a share of that over states; targets: the same of TD targets, if the"
        " target network took the statistics of their minibatch. Score: mean of the last 100 games of training."
    )
    return f"{markdown(head, rows)}\n\n{note}"
