"""The tables of a study of learning rates."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rate_study.digits import TASKS
from rate_study.study import Outcome

from wnrl.checkpoints.files import replace_file


class Spread(NamedTuple):
    """Median, minimum and maximum over seeds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of at least one value; NaN counts as infinite."""
        ordered = sorted(math.inf if math.isnan(value) else value for value in values)
        return cls(statistics.median(ordered), ordered[0], ordered[-1])

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})" if self.low < math.inf else "diverged"


class Comparison:
    """Outcomes by normalizer and rate.

    Args:
        outcomes: of one task, every norm at every rate.
    """

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.first = outcomes[0].run
        self.chance = TASKS[self.first.task]().chance
        self.cells: dict[str, dict[float, list[Outcome]]] = {}
        for outcome in sorted(outcomes, key=lambda outcome: outcome.run.rate):
            self.cells.setdefault(outcome.run.norm, {}).setdefault(outcome.run.rate, []).append(outcome)
        self.cells = {norm: self.cells[norm] for norm in dict.fromkeys(outcome.run.norm for outcome in outcomes)}

    def losses(self, norm: str) -> dict[float, Spread]:
        """The training loss at each rate, in ascending order of rates."""
        return {rate: Spread.of(o.loss for o in cell) for rate, cell in self.cells[norm].items()}

    def best_rate(self, norm: str) -> float:
        """The rate with the lowest median loss."""
        losses = self.losses(norm)
        return min(losses, key=lambda rate: losses[rate].median)

    def limit(self, progress: float) -> float:
        """The loss at this share of the way from a uniform guess to the lowest median of all norms."""
        best = min(self.losses(norm)[self.best_rate(norm)].median for norm in self.cells)
        return self.chance - progress * (self.chance - best) if best < self.chance else -math.inf

    def working(self, norm: str, progress: float) -> list[float]:
        """The rates around the norm's best one, without a gap, whose median loss is within the limit."""
        medians = {rate: spread.median for rate, spread in self.losses(norm).items()}
        return around(medians, self.best_rate(norm), self.limit(progress))


def around(losses: Mapping[float, float], best: float, limit: float) -> list[float]:
    """The rates next to `best`, in ascending order, up to the first on each side whose loss is over the limit."""
    rates = list(losses)
    if losses[best] > limit:
        return []
    low = high = rates.index(best)
    while low > 0 and losses[rates[low - 1]] <= limit:
        low -= 1
    while high + 1 < len(rates) and losses[rates[high + 1]] <= limit:
        high += 1
    return rates[low : high + 1]


def tables(comparison: Comparison, progress: Sequence[float]) -> str:
    """Two markdown tables: the training loss at every rate, and the rates that work for each norm."""
    parts = [_loss_table(comparison), _range_table(comparison, progress)]
    limits = ", ".join(f"{share:.4g} of the way: {comparison.limit(share):.3g}" for share in progress)
    note = (
        "Median (least to greatest) over seeds of the training loss, nats. A rate works for a norm when its median has"
        " gone that share of the way from a uniform guess to the best of all norms, and so have all between it and the"
        f" norm's best rate. Uniform guess: {comparison.chance:.3g}; {limits}."
    )
    return "\n\n".join([*parts, note])


def _loss_table(comparison: Comparison) -> str:
    norms = list(comparison.cells)
    rates = sorted({rate for cells in comparison.cells.values() for rate in cells})
    rows = [[f"{rate:g}", *(_loss(comparison.cells[norm][rate]) for norm in norms)] for rate in rates]
    return markdown(["rate", *norms], rows)


def _loss(cell: Sequence[Outcome]) -> str:
    lost = sum(outcome.diverged for outcome in cell)
    spread = str(Spread.of(outcome.loss for outcome in cell))
    return f"{spread}, {lost} of {len(cell)} diverged" if 0 < lost < len(cell) else spread


def _range_table(comparison: Comparison, progress: Sequence[float]) -> str:
    head = ["norm", "best rate", "loss there", "test loss there", "test error there, %"]
    head += [f"works ({share * 100:g} %)" for share in progress]
    return markdown(head, [_range_row(comparison, norm, progress) for norm in comparison.cells])


def _range_row(comparison: Comparison, norm: str, progress: Sequence[float]) -> list[str]:
    best = comparison.best_rate(norm)
    cell = comparison.cells[norm][best]
    test_loss, test_error = Spread.of(o.test_loss for o in cell), Spread.of(100 * o.test_error for o in cell)
    row = [norm, f"{best:g}", str(comparison.losses(norm)[best]), str(test_loss), str(test_error)]
    return row + [_range(comparison.working(norm, share)) for share in progress]


def _range(rates: Sequence[float]) -> str:
    if len(rates) < 2:
        return f"{rates[0]:g} alone" if rates else "no rate"
    return f"{rates[0]:g} to {rates[-1]:g}: {math.log10(rates[-1] / rates[0]):.1f} decades"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def write(text: str, path: Path) -> None:
    """Write tables into a file.

    Raises:
        ValueError: it cannot be written; what was there before is untouched.
    """
    replace_file(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))
