"""Lines of methods in a figure: their colours, dashes and legend, and how many fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agents.reports.bootstrap import Estimate
from agents.reports.curves import Method
from agents.reports.drawing import HEIGHT
from agents.reports.normalizer_styles import style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
"""Of the first four variants of a figure: agents and settings other than the normalizer."""
MOST = 8
"""Lines of a figure; where there are more, each variant has a figure."""


def parts(methods: Sequence[Method]) -> list[list[Method]]:
    """The methods of each figure: all in one, or those of a variant where they are more than can be told apart."""
    variants = list(dict.fromkeys(method.variant for method in methods))
    if len(methods) <= MOST and len(variants) <= len(DASHES):
        return [list(methods)]
    return [[method for method in methods if method.variant == variant] for variant in variants]


def titled(name: str, part: Sequence[Method], methods: Sequence[Method]) -> str:
    """The name, with that of the variant where the figure has one alone."""
    return name if len(part) == len(methods) else f"{name}, {part[0].variant}"


def lines_height(lines: int) -> float:
    """Inches of a figure with a legend of so many lines in two columns."""
    return HEIGHT + 0.17 * ((lines + 1) // 2)


def dashes_of(methods: Sequence[Method]) -> Mapping[str, Any]:
    """The dashes of each variant of these methods."""
    variants = dict.fromkeys(method.variant for method in methods)
    return {variant: DASHES[index % len(DASHES)] for index, variant in enumerate(variants)}


def draw_line(
    axes: Axes,
    x: Any,
    band: Estimate,
    method: Method,
    dashes: Mapping[str, Any],
    label: str,
    every: tuple[int, int] | None = None,
) -> Line2D:
    """A line with its band; a marker at each point, or `every` (first, step)."""
    style = style_of(method.norm)
    (line,) = axes.plot(
        x, band.value, color=style.colour, marker=style.marker, ms=4.5, markevery=every, lw=1.6,
        ls=dashes[method.variant], label=label,
    )  # fmt: skip
    if band.has_interval:
        axes.fill_between(x, band.low, band.high, color=style.colour, alpha=0.18, lw=0)
    return line


def legend(axes: Axes, lines: Sequence[Line2D]) -> None:
    """A legend of these lines below the figure."""
    labels = [str(line.get_label()) for line in lines]
    columns = 1 if max(map(len, labels)) > 30 or len(labels) == 1 else 2
    places = [str(place) for place in range(len(lines))]  # matplotlib leaves out labels that begin with an underscore
    made = axes.figure.legend(lines, places, loc="outside lower left", ncols=columns, fontsize=8.5, handlelength=3)
    for text, label in zip(made.get_texts(), labels, strict=True):
        text.set_text(label)
