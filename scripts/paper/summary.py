"""What all runs of an experiment have measured: one CSV file, the table and the figure."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from paper.experiment import Curve, PaperSettings
from paper.loop import PaperRun
from rate_study.figure import draw_spreads
from rate_study.report import Spread, markdown

from wnrl.checkpoints.files import replace_file
from wnrl.tracking.csv_table import read_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Measured(NamedTuple):
    """A run and its metrics by tag, epoch by epoch."""

    run: PaperRun
    epochs: Sequence[Mapping[str, float]]

    def curve(self, tag: str) -> list[float]:
        """A metric by epoch."""
        return [row[tag] for row in self.epochs]


def measured(run: PaperRun) -> Measured:
    """The rows of a run's progress.csv, whose `step` is the epoch.

    Raises:
        ValueError: there are none.
    """
    rows = read_rows(run.folder / "progress.csv").rows
    if not rows:
        raise ValueError(f"{run.folder / 'progress.csv'} has no rows: remove {run.folder}, and the run begins again")
    return Measured(run, [{name: float(cell) for name, cell in row.items() if cell} for row in rows])


def write_summary(runs: Sequence[Measured], path: Path) -> None:
    """Write a CSV file with a row for each run and epoch.

    Raises:
        CheckpointError: it cannot be written.
    """
    tags = list(dict.fromkeys(tag for each in runs for row in each.epochs for tag in row if tag != "step"))

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["experiment", "data", "scale", "norm", "seed", "epoch", *tags])
            for each in runs:
                settings = each.run.settings
                head = [settings.name, settings.data, settings.scale, each.run.norm, each.run.seed]
                for row in each.epochs:
                    cells = (f"{row[tag]:.6g}" if tag in row else "" for tag in tags)
                    writer.writerow([*head, int(row["step"]), *cells])

    replace_file(path, write)


def table(settings: PaperSettings, runs: Sequence[Measured]) -> str:
    """Each metric at the last epoch, median (least to greatest) over seeds, by norm, and the paper's result.

    NaN, of a run that diverged, counts as infinitely bad.
    """
    head = ["norm", *(_title(curve) for curve in settings.curves), "seconds of training"]
    head += ["paper"] if settings.published else []
    rows = []
    for norm in settings.compared:
        last = [each.epochs[-1] for each in runs if each.run.norm == norm]
        cells = [_cell(_spread([row[curve.tag] for row in last], curve)) for curve in settings.curves]
        cells.append(f"{Spread.of(row['time/seconds'] for row in last).median:.3g}")
        rows.append([norm, *cells, *([settings.published.get(norm, "")] if settings.published else [])])
    return markdown(head, rows)


def make_figure(settings: PaperSettings, runs: Sequence[Measured]) -> Figure:
    """Each metric against the epoch, by norm; bands span the seeds, up to the last epoch that all of them have."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(settings.curves), 4), layout="constrained")
    panels = figure.subplots(1, len(settings.curves), squeeze=False)[0]
    for axes, curve in zip(panels, settings.curves, strict=True):
        shown: list[Spread] = []
        for norm in settings.compared:
            curves = [each.curve(curve.tag) for each in runs if each.run.norm == norm]
            spreads = [_spread(values, curve) for values in zip(*curves, strict=False)]
            shown += spreads
            draw_spreads(axes, [epoch + 1.0 for epoch in range(len(spreads))], spreads, norm, label=norm)
        log = curve.log and any(0 < spread.median < math.inf for spread in shown)
        axes.set(xlabel="epoch", ylabel=_title(curve), yscale="log" if log else "linear")
        axes.grid(color="#d9dce1", lw=0.6)
    panels[0].legend(frameon=False, fontsize="small")
    seeds = f"median and range of {settings.seeds} seeds" if settings.seeds > 1 else "1 seed"
    figure.suptitle(f"{settings.name}, {settings.data}, scale {settings.scale}: {seeds}", size="medium")
    return figure


def _title(curve: Curve) -> str:
    return f"{curve.label}, %" if curve.percent else curve.label


def _spread(values: Sequence[float], curve: Curve) -> Spread:
    worst = -math.inf if curve.higher_is_better else math.inf
    factor = 100 if curve.percent else 1
    return Spread.of(worst if math.isnan(value) else factor * value for value in values)


def _cell(spread: Spread) -> str:
    return str(spread) if any(map(math.isfinite, spread)) else "diverged"
