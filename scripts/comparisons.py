"""A normalizer beside none over many comparisons: python scripts/comparisons.py docs/studies/comparisons.csv"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from wnrl.distribution import checked_packages

with checked_packages():
    from comparison_study.comparison import read_comparisons
    from comparison_study.comparison_tables import comparison_table, left_out, overall_table
    from comparison_study.forest import make_figure
    from rate_study.figure import save

    from agents.commands.parser import fail, read
    from agents.reports.drawing import check_drawing


@dataclass(frozen=True)
class Comparisons:
    """What is compared, and the figure."""

    comparisons: Annotated[Path, tyro.conf.Positional]
    """CSV file with a line for each comparison: agent, task, and the table of its runs."""
    norm: str = "weight"
    """The normalizer that is compared."""
    baseline: str = "none"
    """That with which it is compared."""
    figure: Path | None = None
    """PNG or SVG file with a row for each comparison; by default none is drawn."""

    def __post_init__(self) -> None:
        if self.figure is not None and (self.figure.suffix not in (".png", ".svg") or self.figure.is_dir()):
            raise ValueError(f"figure must be a file .png or .svg, got {self.figure}")


def main() -> int:
    """Print the tables and draw the figure; returns the exit code."""
    try:
        arguments = read(Comparisons, __doc__ or "")
        check_drawing()
        comparisons = read_comparisons(arguments.comparisons, arguments.baseline)
        text = f"{comparison_table(comparisons, arguments.norm)}\n\n{overall_table(comparisons)}"
        if arguments.figure is not None:
            save(make_figure(comparisons, arguments.norm), arguments.figure)
    except ValueError as error:
        fail(error)
    for one in left_out(comparisons, arguments.norm):
        print(f"left out, with too few seeds: {one.agent_name}, {one.task}", file=sys.stderr)
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
