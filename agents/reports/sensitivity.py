"""Figures of final scores against the values of a setting: which learning rates work, for example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agents.reports.bootstrap import Estimate
from agents.reports.curves import Curve, Method, known_name, number_in
from agents.reports.drawing import Chart, file_name
from agents.reports.findings import Analysis, CurveResult, EnvironmentResult
from agents.reports.lines import dashes_of, draw_line, legend, lines_height, parts, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE = 8  # ratio of the greatest value to the least from which an axis is logarithmic


class Sensitivity(NamedTuple):
    """A method, with any value of the setting, in one environment."""

    method: Method
    """Without the setting."""
    values: tuple[float, ...]
    """Of the setting, ascending."""
    scores: Estimate
    """IQM of the final scores at each value."""
    seeds: int
    """Fewest at a value."""


def checked_numbers(curves: Sequence[Curve], name: str) -> str:
    """The setting of that name, by which curves are told apart, if scores can be drawn against it.

    Raises:
        ValueError: a value of it is no number, or there is only one.
    """
    setting = known_name(name, dict(curves[0].method.by))
    values = dict.fromkeys(dict(curve.method.by)[setting] for curve in curves)
    for value in values:
        if number_in(value) is None:
            raise ValueError(f"--against takes a setting whose values are numbers: {setting} is {value} in some runs")
    if len(values) == 1:
        raise ValueError(f"--against takes a setting that differs between runs: {setting} is {value} in all")
    return setting


def sensitivities(env: EnvironmentResult, setting: str) -> list[Sensitivity]:
    """The final scores of each method by the values of a setting."""
    found: dict[Method, dict[float, CurveResult]] = {}
    for result in env.curves:
        by = dict(result.curve.method.by)
        value = number_in(by.pop(setting))
        assert value is not None
        method = result.curve.method._replace(by=tuple(by.items()))
        found.setdefault(method, {})[value] = result
    return [_sensitivity(method, dict(sorted(results.items()))) for method, results in found.items()]


def _sensitivity(method: Method, results: dict[float, CurveResult]) -> Sensitivity:
    scores = Estimate(*(np.array(each) for each in zip(*(result.final for result in results.values()), strict=True)))
    return Sensitivity(method, tuple(results), scores, min(len(result.finals) for result in results.values()))


def sensitivity_charts(analysis: Analysis) -> list[Chart]:
    """A figure for each environment, none where scores are not compared against a setting."""
    if analysis.against is None:
        return []
    return [chart for env in analysis.environments for chart in _charts(env, analysis.against, analysis.tag)]


def _charts(env: EnvironmentResult, setting: str, tag: str) -> list[Chart]:
    lines = sensitivities(env, setting)
    methods = [line.method for line in lines]
    found = []
    for part in parts(methods):
        drawn = [line for line in lines if line.method in part]
        title = titled(env.env, part, methods)
        bests = "; ".join(f"{line.method} is best at {_best(line):g}" for line in drawn)
        text = f"Final {tag} on {title} against {setting}. {bests}."
        name = file_name(f"{setting}-{title}")
        found.append(Chart(name, text, lines_height(len(drawn)), _painter(drawn, title, setting, tag)))
    return found


def _best(line: Sensitivity) -> float:
    return line.values[int(np.argmax(line.scores.value))]


def _painter(lines: Sequence[Sensitivity], title: str, setting: str, tag: str) -> Callable[[Axes], None]:
    dashes = dashes_of([line.method for line in lines])

    def paint(axes: Axes) -> None:
        drawn = []
        for line in lines:
            label = f"{line.method} ({line.seeds} seed{'s' * (line.seeds > 1)})"
            drawn.append(draw_line(axes, line.values, line.scores, line.method, dashes, label))
        values = sorted({value for line in lines for value in line.values})
        axes.set(title=title, xlabel=setting, ylabel=f"final {tag}")
        if values[0] > 0 and values[-1] >= _WIDE * values[0]:
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(values, [f"{value:g}" for value in values])
        legend(axes, drawn)

    return paint
