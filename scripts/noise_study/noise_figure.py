"""The figure of a study of minibatch noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from noise_study.noise_runs import NoiseRow
from noise_study.noise_table import Range, Study, q_noise, score, target_noise

from agents.reports.normalizer_styles import style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(study: Study, path: Path) -> None:
    """Write the figure as PNG and SVG: `path` with these suffixes.

    Raises:
        ValueError: a file cannot be written.
    """
    figure = make_figure(study)
    for suffix in (".png", ".svg"):
        try:
            figure.savefig(path.with_suffix(suffix), dpi=110)
        except OSError as error:
            raise ValueError(f"cannot write {path.with_suffix(suffix)}: {error.strerror}") from error


def make_figure(study: Study) -> Figure:
    """The noise against the batch size at the last step, of Q values and of targets; noise and score against the step.

    Lines are medians over seeds, bands go from the least to the greatest.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.4), layout="constrained")
    (q, targets), (during, scores) = figure.subplots(2, 2)
    last = study.steps[-1]
    q.sharey(targets)
    for axes, figure_of, title in (
        (q, q_noise, "Q values in the learning pass"),
        (targets, target_noise, "TD targets, if they took minibatch statistics"),
    ):
        _draw_by_size(axes, study, figure_of, last)
        axes.set_title(title, size="medium", loc="left")
    _draw_by_step(during, study, q_noise)
    during.set_title(f"Q values, batch size {study.learning_batch}, during training", size="medium", loc="left")
    during.set_ylabel("noise")
    _draw_by_step(scores, study, score)
    scores.set_title("score: mean of the last 100 games", size="medium", loc="left")
    for axes in (q, targets, during, scores):
        axes.grid(color="#d9dce1", lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = scores.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    seeds = "1 seed" if study.seeds == 1 else f"median and range of {study.seeds} seeds"
    figure.suptitle(
        f"Noise: standard deviation over minibatches / that over states; {study.env}, {seeds}", size="medium"
    )
    return figure


def _draw_by_size(axes: Axes, study: Study, figure_of: Callable[[NoiseRow], float], step: int) -> None:
    from matplotlib.ticker import LogLocator

    absent: dict[str, list[str]] = {"0": [], "no number": []}  # from a logarithmic axis
    for norm in study.norms:
        ranges = [study.range(figure_of, norm, step, size) for size in study.batch_sizes]
        if any(each.high > 0 for each in ranges):
            _draw_line(axes, study.batch_sizes, ranges, norm)
        else:
            absent["0" if all(each.high == 0 for each in ranges) else "no number"].append(norm)
    axes.set_xscale("log", base=2)
    axes.set_xticks(study.batch_sizes, [str(size) for size in study.batch_sizes])
    axes.set(xlabel=f"batch size, at step {step:,}", ylabel="noise")
    if sum(map(len, absent.values())) < len(study.norms):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        axes.axvline(study.learning_batch, color="#888888", lw=0.8, ls="--", zorder=0)
    if text := "; ".join(f"{value}: {', '.join(norms)}" for value, norms in absent.items() if norms):
        axes.text(0.02, 0.03, text, transform=axes.transAxes, size="small", color="#555555")


def _draw_by_step(axes: Axes, study: Study, figure_of: Callable[[NoiseRow], float]) -> None:
    for norm in study.norms:
        ranges = [study.range(figure_of, norm, step, study.learning_batch) for step in study.steps]
        _draw_line(axes, study.steps, ranges, norm)
    axes.set_xlabel("step")
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    axes.xaxis.set_major_formatter("{x:,.0f}")


def _draw_line(axes: Axes, x: Sequence[float], ranges: Sequence[Range], norm: str) -> None:
    colour, marker = style_of(norm)
    axes.plot(x, [each.median for each in ranges], color=colour, marker=marker, ms=4, label=norm)
    axes.fill_between(x, [each.low for each in ranges], [each.high for each in ranges], color=colour, alpha=0.2, lw=0)
