"""What a study of learning rates says: tables, and a figure."""

from __future__ import annotations

import importlib.util
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agents.digits import TASKS
from agents.learning_rates import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES = {
    "none": ("#555555", "o"),
    "weight": ("#0072b2", "s"),
    "mean-batch": ("#d55e00", "^"),
    "batch": ("#009e73", "D"),
}
"""Colour and marker of each normalizer; colours that the colour-blind can tell apart."""
CEILING = 4.0  # losses over so many times a uniform guess's are drawn at the top, as diverged ones are


class Spread(NamedTuple):
    """Median, least and greatest over seeds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of at least one value; what is not a number counts as infinite."""
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
        """The rate of the least median loss."""
        losses = self.losses(norm)
        return min(losses, key=lambda rate: losses[rate].median)

    def limit(self, progress: float) -> float:
        """The loss that has gone this share of the way from a uniform guess to the least median of all norms."""
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
    """Two markdown tables: the training loss at every rate, and what works for each norm."""
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
    return _markdown(["rate", *norms], rows)


def _loss(cell: Sequence[Outcome]) -> str:
    lost = sum(outcome.diverged for outcome in cell)
    spread = str(Spread.of(outcome.loss for outcome in cell))
    return f"{spread}, {lost} of {len(cell)} diverged" if 0 < lost < len(cell) else spread


def _range_table(comparison: Comparison, progress: Sequence[float]) -> str:
    head = ["norm", "best rate", "loss there", "test loss there", "test error there, %"]
    head += [f"works ({share * 100:g} %)" for share in progress]
    return _markdown(head, [_range_row(comparison, norm, progress) for norm in comparison.cells])


def _range_row(comparison: Comparison, norm: str, progress: Sequence[float]) -> list[str]:
    best = comparison.best_rate(norm)
    cell = comparison.cells[norm][best]
    test_loss, test_error = Spread.of(o.test_loss for o in cell), Spread.of(100 * o.test_error for o in cell)
    row = [norm, f"{best:g}", str(comparison.losses(norm)[best]), str(test_loss), str(test_error)]
    return row + [_range(comparison.working(norm, share)) for share in progress]


def _range(rates: Sequence[float]) -> str:
    return f"{rates[0]:g} to {rates[-1]:g}: {math.log10(rates[-1] / rates[0]):.1f} decades" if rates else "no rate"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def check_matplotlib() -> None:
    """Before hours of training rather than after them.

    Raises:
        ValueError: it is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError('the figure needs matplotlib: pip install "wnrl[report]"')


def draw(comparison: Comparison, progress: float, path: Path) -> None:
    """The figure: the loss against the rate, and against the epoch at each norm's best rate.

    Args:
        comparison: what is shown; bands span the seeds.
        progress: the share of the way at which a line is drawn, see `Comparison.limit`.
        path: of the picture; its ending is the format.

    Raises:
        ValueError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for number, norm in enumerate(comparison.cells):
        _draw_rates(left, comparison, norm, offset=1.06 ** (number - (len(comparison.cells) - 1) / 2))
        _draw_curve(right, comparison, norm)
    _finish(left, comparison, progress)
    right.set(xlabel="epoch", title="at each norm's best rate")
    right.legend(frameon=False, fontsize="small")
    try:
        figure.savefig(path, dpi=100)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror}") from error


def _draw_rates(axes: Axes, comparison: Comparison, norm: str, offset: float) -> None:
    """Medians, a band, and at the top a cross for each run that diverged or is over it."""
    losses, top = comparison.losses(norm), CEILING * comparison.chance
    _draw_line(axes, list(losses), list(losses.values()), norm, top, label=norm)
    over = [o.run.rate * offset for cell in comparison.cells[norm].values() for o in cell if o.loss > top]
    axes.plot(over, [top] * len(over), "x", color=STYLES[norm][0], clip_on=False)


def _draw_curve(axes: Axes, comparison: Comparison, norm: str) -> None:
    rate = comparison.best_rate(norm)
    curves = [outcome.curve for outcome in comparison.cells[norm][rate] if not outcome.diverged]
    spreads = [Spread.of(losses) for losses in zip(*curves, strict=True)]
    epochs = [epoch + 1.0 for epoch in range(len(spreads))]
    _draw_line(axes, epochs, spreads, norm, CEILING * comparison.chance, label=f"{norm}, {rate:g}")


def _draw_line(axes: Axes, x: Sequence[float], spreads: Sequence[Spread], norm: str, top: float, *, label: str) -> None:
    colour, marker = STYLES[norm]
    median, low, high = ([min(getattr(spread, part), top) for spread in spreads] for part in Spread._fields)
    axes.plot(x, median, color=colour, marker=marker, ms=4, label=label)
    axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)


def _finish(axes: Axes, comparison: Comparison, progress: float) -> None:
    """Scales, titles, and lines at a uniform guess's loss and at the limit."""
    run = comparison.first
    lines = {"uniform guess": comparison.chance, f"{progress * 100:g} % of the way": comparison.limit(progress)}
    for name, loss in lines.items():
        if loss > 0:
            axes.axhline(loss, color="#999999", lw=0.8, ls="--", zorder=0)
            axes.text(
                0.01, loss, name, transform=axes.get_yaxis_transform(), va="bottom", size="small", color="#666666"
            )
    axes.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="training loss, nats")
    axes.set_title(f"{run.task}, {run.optimizer}, epoch {run.epochs}")
    axes.set_ylim(top=CEILING * comparison.chance)
