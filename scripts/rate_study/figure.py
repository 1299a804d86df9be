"""The figure of a study of learning rates."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rate_study.report import Comparison, Spread

from agents.reports.normalizer_styles import style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CEILING = 1.5  # highest loss shown, in units of a uniform guess's; runs above it and diverged ones are counted
STRIP = 0.17  # share of the figure's height for these counts


def check_matplotlib() -> None:
    """Check for matplotlib before the training rather than after it.

    Raises:
        ValueError: it is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError('the figure needs matplotlib: pip install "wnrl[report]"')


def draw(comparison: Comparison, progress: float, path: Path) -> None:
    """Write the figure to a file, in the format of its suffix; see `make_figure`.

    Raises:
        ValueError: the file cannot be written.
    """
    save(make_figure(comparison, progress), path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure to a file, in the format of its suffix.

    Raises:
        ValueError: the file cannot be written.
    """
    try:
        figure.savefig(path, dpi=90)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror}") from error


def make_figure(comparison: Comparison, progress: float) -> Figure:
    """The loss against the rate, and against the epoch at each norm's best rate.

    Args:
        comparison: what is shown; bands span the seeds, and a strip at the top counts the runs that left the axis.
        progress: share of the way at which a line is drawn, see `Comparison.limit`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for norm in comparison.cells:
        _draw_rates(left, comparison, norm)
        _draw_curve(right, comparison, norm)
    _scale(left, comparison)
    _draw_lost(left, comparison)
    _draw_limits(left, right, comparison, progress)
    _name(left, right, comparison)
    return figure


def _draw_rates(axes: Axes, comparison: Comparison, norm: str) -> None:
    losses = comparison.losses(norm)
    draw_spreads(axes, list(losses), list(losses.values()), norm, label=norm, top=CEILING * comparison.chance)


def _draw_curve(axes: Axes, comparison: Comparison, norm: str) -> None:
    rate = comparison.best_rate(norm)
    curves = [outcome.curve for outcome in comparison.cells[norm][rate] if not outcome.diverged]
    spreads = [Spread.of(losses) for losses in zip(*curves, strict=True)]
    epochs = [epoch + 1.0 for epoch in range(len(spreads))]
    draw_spreads(axes, epochs, spreads, norm, label=f"{norm}, {rate:g}", top=CEILING * comparison.chance)


def draw_spreads(
    axes: Axes, x: Sequence[float], spreads: Sequence[Spread], norm: str, *, label: str, top: float = math.inf
) -> None:
    """Draw the medians of a norm as a line and their ranges as a band, in its style; values over `top` at `top`."""
    colour, marker = style_of(norm)
    median, low, high = ([min(getattr(spread, part), top) for spread in spreads] for part in Spread._fields)
    axes.plot(x, median, color=colour, marker=marker, ms=4, label=label)
    axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)


def _scale(axes: Axes, comparison: Comparison) -> None:
    """Logarithmic axes, with room for the strip where there is something to count."""
    from matplotlib.ticker import MaxNLocator

    axes.set(xscale="log", yscale="log")
    axes.axhline(comparison.chance, visible=False)
    bottom, top = axes.get_ylim()
    if any(_lost(comparison, norm) for norm in comparison.cells):
        ceiling = CEILING * comparison.chance
        top = ceiling * (ceiling / bottom) ** (STRIP / (1 - STRIP))
    axes.set_ylim(bottom, top)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    if top < 10 * bottom:
        axes.set_yticks([tick for tick in MaxNLocator(6).tick_values(bottom, top) if bottom <= tick <= top])


def _lost(comparison: Comparison, norm: str) -> dict[float, int]:
    """Number of runs that diverged or are above the ceiling, by rate where there are any."""
    top = CEILING * comparison.chance
    counts = {rate: sum(outcome.loss > top for outcome in cell) for rate, cell in comparison.cells[norm].items()}
    return {rate: count for rate, count in counts.items() if count}


def _draw_lost(axes: Axes, comparison: Comparison) -> None:
    """Counts of lost runs: at each rate, in a row for each norm."""
    for row, norm in enumerate(comparison.cells):
        style: dict[str, Any] = {"color": style_of(norm).colour, "ha": "center", "va": "center", "size": "small"}
        height = 1 - STRIP * (row + 0.6) / len(comparison.cells)
        for rate, count in _lost(comparison, norm).items():
            axes.text(rate, height, str(count), transform=axes.get_xaxis_transform(), **style)


def _draw_limits(left: Axes, right: Axes, comparison: Comparison, progress: float) -> None:
    """Lines under the strip, at a uniform guess's loss and at the limit."""
    lines = [(comparison.chance, "uniform guess", "top")]
    if any(_lost(comparison, norm) for norm in comparison.cells):
        lines.insert(0, (CEILING * comparison.chance, "runs above or diverged", "bottom"))
    if (limit := comparison.limit(progress)) > 0:
        lines.append((limit, f"{progress * 100:g} % of the way to the best", "bottom"))
    for loss, name, side in lines:
        for axes in (left, right):
            axes.axhline(loss, color="#888888", lw=0.8, ls="--", zorder=0)
        place = right.get_yaxis_transform()
        right.text(0.98, loss, name, transform=place, ha="right", va=side, size="small", color="#555555")


def _name(left: Axes, right: Axes, comparison: Comparison) -> None:
    run = comparison.first
    left.set(xlabel="learning rate", ylabel="training loss, nats")
    seeds = max(len(cell) for cells in comparison.cells.values() for cell in cells.values())
    title = f"{run.task}, {run.optimizer}, epoch {run.epochs}: median and range of {seeds} seeds"
    left.set_title(title, size="medium")
    right.set_xlabel("epoch")
    right.set_title("at each norm's best rate", size="medium")
    right.legend(loc="best", frameon=False, fontsize="small")
