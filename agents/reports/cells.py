"""What stands in a cell of a report's table: for the eye with four digits, for a program with nine."""

from __future__ import annotations

import math
from typing import NamedTuple

from agents.reports.bootstrap import Estimate
from agents.reports.run import ABSENT

INTERVAL = "95 % interval"
"""How the names of columns of intervals begin."""


class Interval(NamedTuple):
    """The bounds of an estimate."""

    low: float
    high: float


Cell = str | int | float | Interval | None
"""None and NaN are cells with nothing in them."""


def shown(cell: Cell) -> str:
    """A cell as people read it."""
    match cell:
        case None:
            return ABSENT
        case str():
            return cell
        case Interval():
            return f"{number(cell.low)} to {number(cell.high)}"
    return number(cell)


def number(value: float) -> str:
    """A number with about four digits."""
    if math.isnan(value):
        return ABSENT
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def plain_names(name: str) -> list[str]:
    """The names of a column in a file for programs, where intervals are two."""
    return [name.replace("interval", bound, 1) for bound in Interval._fields] if name.startswith(INTERVAL) else [name]


def plain_values(name: str, cell: Cell) -> list[str]:
    """A cell of the column of that name in a file for programs; empty where there is nothing."""
    if name.startswith(INTERVAL):
        return [_plain(bound) for bound in (cell if isinstance(cell, Interval) else (None, None))]
    return [_plain(cell)]


def _plain(cell: Cell) -> str:
    if isinstance(cell, float):
        return "" if math.isnan(cell) else f"{cell:.9g}"
    return "" if cell is None else str(cell)


def interval(value: Estimate | None) -> Interval | None:
    """The bounds of an estimate; None where there are none."""
    return Interval(float(value.low), float(value.high)) if value is not None and value.has_interval else None


def with_interval(value: Estimate | None) -> tuple[float | None, Interval | None]:
    """An estimate as the cells of two columns."""
    return None if value is None else float(value.value), interval(value)
