"""The figure of comparisons: a row for each, with the interval of its difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from comparison_study.comparison import Comparison
from comparison_study.comparison_tables import comparable

from agents.reports.normalizer_styles import style_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDEST = 4.0
"""Standard deviations to each side; intervals that go further end in an arrow."""


def make_figure(comparisons: Sequence[Comparison], norm: str) -> Figure:
    """Differences by seed from the baseline, in standard deviations over seeds, with their intervals."""
    from matplotlib.figure import Figure

    rows = comparable(comparisons, norm)
    figure = Figure(figsize=(8, 1.3 + 0.24 * len(rows)), layout="constrained")
    axes = figure.subplots()
    colour, marker = style_of(norm)
    for height, comparison in enumerate(rows):
        value, low, high = (float(each) for each in comparison.effect(norm))
        ends = [min(max(bound, -WIDEST), WIDEST) for bound in (low, high)]
        axes.plot(ends, [height, height], color=colour, lw=5, alpha=0.35, solid_capstyle="butt")
        axes.plot([value], [height], color=colour, marker=marker, ms=6)
        for beyond, end, arrow in ((low < -WIDEST, -WIDEST, "<"), (high > WIDEST, WIDEST, ">")):
            if beyond:
                axes.plot([end], [height], color=colour, marker=arrow, ms=5, clip_on=False)
    axes.axvline(0, color="#888888", lw=0.8, ls="--", zorder=0)
    axes.set_yticks(range(len(rows)), [_name(comparison, norm) for comparison in rows])
    axes.set(xlim=(-WIDEST, WIDEST), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xlabel("mean difference by seed and its 95 % interval, in standard deviations over seeds", size="small")
    figure.suptitle(f"{norm} − {rows[0].baseline}", size="medium", x=0.01, ha="left")
    axes.grid(axis="x", color="#d9dce1", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _name(comparison: Comparison, norm: str) -> str:
    return f"{comparison.agent_name}, {comparison.task_name} ({len(comparison.finals(norm)[0])} seeds)"
