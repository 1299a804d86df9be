"""The figures of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.reports.bootstrap import Estimate
from agents.reports.drawing import Chart, file_name
from agents.reports.findings import Aggregate, Analysis, Block, CurveResult, EnvironmentResult
from agents.reports.lines import dashes_of, draw_line, legend, lines_height, parts, titled
from agents.reports.normalizer_styles import style_of
from agents.reports.sensitivity import sensitivity_charts

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def charts(analysis: Analysis) -> dict[str, list[Chart]]:
    """The figures by section: `curves`, `sensitivity`, `aggregates`, `profiles` and `improvements`."""
    found = {
        "curves": [chart for env in analysis.environments for chart in _curve_charts(env, analysis.tag)],
        "sensitivity": sensitivity_charts(analysis),
        "aggregates": [chart for block in analysis.blocks if len(block.envs) > 1 for chart in _aggregate_charts(block)],
        "profiles": [chart for block in analysis.blocks for chart in _profile_charts(block)],
        "improvements": _improvement_charts(analysis),
    }
    taken: Counter[str] = Counter()
    return {section: [_once(chart, taken) for chart in each] for section, each in found.items()}


def _once(chart: Chart, taken: Counter[str]) -> Chart:
    """The chart, with a number after its name where another one has it."""
    taken[chart.name] += 1
    number = taken[chart.name]
    return chart if number == 1 else chart._replace(name=f"{chart.name}-{number}")


def _curve_charts(env: EnvironmentResult, tag: str) -> list[Chart]:
    methods = [result.curve.method for result in env.curves]
    found = []
    for part in parts(methods):
        results = [result for result in env.curves if result.curve.method in part]
        title = titled(env.env, part, methods)
        ends = "; ".join(f"{r.curve.method} ends at {r.band.value[-1]:.4g}" for r in results)
        text = f"Learning curves on {title}: {tag} against steps. {ends}."
        paint = _curve_painter(env, results, title, tag)
        found.append(Chart(file_name(f"curve-{title}"), text, lines_height(len(results)), paint))
    return found


def _curve_painter(
    env: EnvironmentResult, results: Sequence[CurveResult], title: str, tag: str
) -> Callable[[Axes], None]:
    dashes = dashes_of([result.curve.method for result in results])

    def paint(axes: Axes) -> None:
        lines = []
        for index, result in enumerate(results):
            method, n = result.curve.method, len(result.finals)
            label = f"{method} ({n} seed{'s' * (n > 1)})"
            every = _markers(result.steps, index)
            lines.append(draw_line(axes, result.steps, result.band, method, dashes, label, every))
        low, high = _limits(env)
        if env.threshold is not None and low <= env.threshold[0] <= high:
            axes.axhline(env.threshold[0], color="#888888", lw=0.8, ls=":", zorder=0)
        axes.set(title=title, xlabel="steps", ylabel=tag, ylim=(low, high))
        axes.xaxis.set_major_formatter(_short_number)
        legend(axes, lines)

    return paint


def _limits(env: EnvironmentResult) -> tuple[float, float]:
    """Of the axis of scores: the same in all figures of an environment, with its threshold where that is near."""
    bands = [np.stack(result.band) for result in env.curves]
    low, high = min(float(np.nanmin(band)) for band in bands), max(float(np.nanmax(band)) for band in bands)
    height = (high - low) or 1.0
    if env.threshold is not None and low - height / 2 <= env.threshold[0] <= high + height / 2:
        low, high = min(low, env.threshold[0]), max(high, env.threshold[0])
    return low - 0.05 * height, high + 0.05 * height


def _markers(x: Any, index: int) -> tuple[int, int] | None:
    """Where the markers of a line are: apart from those of lines that it overlaps."""
    return (index * 7 % 29, 29) if len(x) > 1 else None


def _short_number(value: float, _: Any = None) -> str:
    """A number of steps on an axis: 200k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _aggregate_charts(block: Block) -> list[Chart]:
    methods = [str(aggregate.method) for aggregate in block.aggregates]
    norms = [aggregate.method.norm for aggregate in block.aggregates]
    found = []
    for name in block.aggregates[0].statistics:
        estimates = [aggregate.statistics[name] for aggregate in block.aggregates]
        text = f"{name} over {block}: " + _listed(methods, estimates)
        paint = _interval_painter(methods, estimates, norms, f"{name} of scores", None)
        found.append(Chart(file_name(f"aggregate-{name}-{block_name(block)}"), text, _rows_height(len(methods)), paint))
    return found


def block_name(block: Block) -> str:
    """What files about a block are called."""
    return "+".join(block.envs) if len(block.envs) <= 3 else f"{len(block.envs)}-environments-from-{block.envs[0]}"


def _profile_charts(block: Block) -> list[Chart]:
    methods = [aggregate.method for aggregate in block.aggregates]
    where = str(block) if len(block.envs) == 1 else f"{len(block.envs)} environments"
    found = []
    for part in parts(methods):
        aggregates = [aggregate for aggregate in block.aggregates if aggregate.method in part]
        title = titled(where, part, methods)
        text = f"Share of runs whose final score is above a score, for {', '.join(map(str, part))}, over {block}."
        paint = _profile_painter(block, aggregates, title)
        name = titled(f"profiles-{block_name(block)}", part, methods)
        found.append(Chart(file_name(name), text, lines_height(len(part)), paint))
    return found


def _profile_painter(block: Block, aggregates: Sequence[Aggregate], title: str) -> Callable[[Axes], None]:
    dashes = dashes_of([aggregate.method for aggregate in aggregates])

    def paint(axes: Axes) -> None:
        lines = []
        for index, aggregate in enumerate(aggregates):
            label = f"{aggregate.method} ({aggregate.runs} run{'s' * (aggregate.runs > 1)})"
            every = _markers(block.scores, index)
            lines.append(draw_line(axes, block.scores, aggregate.profile, aggregate.method, dashes, label, every))
        score = "final score τ" if len(block.envs) == 1 else "final score τ on each environment's scale"
        axes.set(title=title, xlabel=score, ylabel="share of runs above τ", ylim=(-0.02, 1.02))
        legend(axes, lines)

    return paint


def _improvement_charts(analysis: Analysis) -> list[Chart]:
    found = []
    for env in dict.fromkeys(improvement.env for improvement in analysis.improvements):
        rows = [improvement for improvement in analysis.improvements if improvement.env == env]
        where = env or "all environments"
        names = [f"{row.method} > {row.instead}" for row in rows]
        values = [row.probability for row in rows]
        text = f"Probability of improvement on {where}: " + _listed(names, values)
        paint = _interval_painter(names, values, [row.method.norm for row in rows], "P(improvement)", (0.5, where))
        found.append(Chart(file_name(f"improvement-{env or 'all'}"), text, _rows_height(len(rows)), paint))
    return found


def _rows_height(rows: int) -> float:
    return 1.0 + 0.32 * rows


def _interval_painter(
    names: Sequence[str], values: Sequence[Estimate], norms: Sequence[str], label: str, chance: tuple[float, str] | None
) -> Callable[[Axes], None]:
    """A row for each name with a marker and its interval; from 0 to 1 with a line at chance where that is given."""

    def paint(axes: Axes) -> None:
        for row, (value, norm) in enumerate(zip(values, norms, strict=True)):
            style = style_of(norm)
            if value.has_interval:
                axes.plot(
                    [value.low, value.high], [row, row], color=style.colour, lw=6, alpha=0.35, solid_capstyle="butt"
                )
            axes.plot([value.value], [row], color=style.colour, marker=style.marker, ms=7)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(label)
        if chance is not None:
            axes.set(xlim=(-0.02, 1.02), title=chance[1])
            axes.axvline(chance[0], color="#888888", lw=0.8, ls="--", zorder=0)

    return paint


def _listed(names: Sequence[str], values: Sequence[Estimate]) -> str:
    return "; ".join(f"{name} {value.value:.3g}" for name, value in zip(names, values, strict=True)) + "."
