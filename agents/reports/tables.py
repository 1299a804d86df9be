"""The tables of a report."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from agents.reports.analysis import STATISTICS
from agents.reports.cells import INTERVAL, Cell, plain_names, plain_values, shown, with_interval
from agents.reports.curves import FREE, OF_NOTE, differing, shortened
from agents.reports.findings import Analysis, CurveResult
from agents.reports.run import Run
from agents.reports.score_scales import HUMAN


class Table(NamedTuple):
    """A table with what stands above it."""

    name: str
    """Of its files."""
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def plain_rows(self) -> list[list[str]]:
        """The names and the rows for a program: numbers have nine digits and no separators, intervals two columns."""
        names = [*chain.from_iterable(map(plain_names, self.head))]
        return [names, *([*chain.from_iterable(map(plain_values, self.head, row))] for row in self.rows)]

    def as_csv(self) -> str:
        """The plain rows as comma-separated values."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(self.plain_rows())
        return text.getvalue()

    def _texts(self) -> list[list[str]]:
        """The rows as people read them."""
        return [[*map(shown, row)] for row in self.rows]

    def as_markdown(self) -> str:
        """A table as GitHub shows it."""
        cells = [[plain(cell) for cell in row] for row in [self.head, *self._texts()]]
        lines = [cells[0], ["---"] * len(self.head), *cells[1:]]
        return "\n".join(f"| {' | '.join(row)} |" for row in lines) + "\n"

    def as_text(self) -> str:
        """Columns for a terminal."""
        rows = [self.head, *self._texts()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
        return "\n".join("  ".join(line).rstrip() for line in lines)

    def as_html(self) -> str:
        """A table element in a box that scrolls; the first column names the rows."""
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in self.head)
        rows = [
            f'<tr><th scope="row">{html.escape(row[0])}</th>'
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in self._texts()
        ]
        body = "\n".join(rows)
        return (
            f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(self.title)}">'
            f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
        )


def plain(text: str) -> str:
    """A text as Markdown shows it in one line, in a table too, with no HTML in it."""
    return re.sub(r"([\\|<])", r"\\\1", " ".join(text.split()))


def score_table(analysis: Analysis) -> Table:
    """Final scores of each curve."""
    human = any(env.scale.source == HUMAN for env in analysis.environments)
    head = ["method", "environment", "IQM", INTERVAL, "seeds", *["human-normalized IQM"] * human]
    head += ["mean", "deviation", "lowest", "highest", "maximum (flatters)", "steps"]
    rows = []
    for env in analysis.environments:
        for result in env.curves:
            row: list[Cell] = [str(result.curve.method), env.env, *with_interval(result.final), len(result.finals)]
            if human:
                normalized = env.scale.source == HUMAN
                row.append(float(env.scale(result.final.value)) if normalized else None)
            rows.append((*row, *_more_scores(result)))
    return Table("scores", "Final scores", tuple(head), tuple(rows))


def _more_scores(result: CurveResult) -> list[Cell]:
    finals = result.finals
    deviation = float(finals.std(ddof=1)) if len(finals) > 1 else math.nan
    ends = [float(finals.min()), float(finals.max()), float(result.bests.mean())]
    return [float(finals.mean()), deviation, *ends, int(result.steps[-1])]


def aggregate_table(analysis: Analysis) -> Table:
    """Statistics over several environments."""
    blocks = [block for block in analysis.blocks if len(block.envs) > 1]
    rows = []
    for block in blocks:
        where = str(len(block.envs)) if len(blocks) == 1 else ", ".join(block.envs)
        for one in block.aggregates:
            values = chain.from_iterable(map(with_interval, one.statistics.values()))
            rows.append((str(one.method), where, one.runs, *values))
    head = ["method", "environments", "runs", *(part for name in STATISTICS for part in (name, INTERVAL))]
    return Table("aggregates", "Over several environments", tuple(head), tuple(rows))


def improvement_table(analysis: Analysis) -> Table:
    """Probabilities of improvement."""
    difference = ("mean difference by seed", f"{INTERVAL} of the difference", "pairs")
    head = ("method", "over", "environment", "probability", INTERVAL, *difference)
    rows = []
    for one in analysis.improvements:
        values = [*with_interval(one.probability), *with_interval(one.difference), one.pairs or None]
        rows.append((str(one.method), str(one.baseline), one.env or "all", *values))
    return Table("improvement", "Probability of improvement", head, tuple(rows))


def threshold_table(analysis: Analysis) -> Table:
    """Steps and wall time to a score."""
    head = ("method", "environment", "score", "which is", "reached by", "median steps", "median minutes")
    rows = []
    for one in analysis.thresholds:
        runs = len(one.curve.runs)
        took = ["not reached" if math.isinf(value) else value for value in (one.steps, one.seconds / 60)]
        reached = f"{one.reached} of {runs}"
        rows.append((str(one.curve.method), one.curve.env, one.threshold, one.source, reached, *took))
    return Table("thresholds", "Steps and wall time to a score", head, tuple(rows))


def difference_tables(analysis: Analysis) -> list[Table]:
    """The settings that differ between the runs of an agent, by method, and those that differ between agents alone."""
    runs: dict[str, list[Run]] = {}
    methods: dict[str, list[Run]] = {}
    for result in [result for env in analysis.environments for result in env.curves]:
        runs.setdefault(result.curve.method.agent, []).extend(result.curve.runs)
        methods.setdefault(str(result.curve.method), []).extend(result.curve.runs)
    within = dict.fromkeys(name for of_agent in runs.values() for name in _differing(of_agent))
    between = [name for name in _differing(analysis.runs) if name not in within]
    return [
        _settings("settings-that-differ", "Settings that differ", [*within], methods),
        _settings("settings-of-agents", "Settings that differ between agents alone", between, runs),
    ]


def _settings(name: str, title: str, names: Sequence[str], columns: Mapping[str, Sequence[Run]]) -> Table:
    """Rows of settings with their values in the runs of each column."""
    rows = []
    for one in names:
        values = [[run.value(one) for run in runs] for runs in columns.values()]
        different = list(dict.fromkeys(value for column in values for value in column))
        short = dict(zip(different, shortened(different), strict=True))
        rows.append((one, *(_values([short[value] for value in column]) for column in values)))
    return Table(name, title, ("setting", *columns), tuple(rows))


def _differing(runs: Sequence[Run]) -> list[str]:
    """Names of settings, and of what runs were made with, that are not the same in all runs."""
    made = dict.fromkeys(name for run in runs for name in run.made_with)
    settings = [name for name in differing(runs) if name not in FREE or name in OF_NOTE]
    return [*settings, *(name for name in made if len({run.value(name) for run in runs}) > 1)]


def _values(values: Sequence[str]) -> str:
    different = list(dict.fromkeys(values))
    if len(different) > 3:
        return f"{different[0][:40]}, … ({len(different)} values)"
    return ", ".join(different)


def same_table(analysis: Analysis) -> Table:
    """The settings, versions and so on that all runs share."""
    runs = analysis.runs
    names = dict.fromkeys(name for run in runs for name in (*run.settings, *run.made_with))
    rows = tuple((name, runs[0].value(name)) for name in names if len({run.value(name) for run in runs}) == 1)
    return Table("settings-that-do-not", "Settings that do not differ", ("setting", "value"), rows)


def run_table(analysis: Analysis) -> Table:
    """Each run with its final score."""
    broke_down = any(run.broke_down is not None for run in analysis.runs)
    head = ["run", "environment", "method", "seed", "steps", *["broke down at"] * broke_down]
    head += ["minutes", "final score", "maximum"]
    rows: list[tuple[Cell, ...]] = []
    for env in analysis.environments:
        for result in env.curves:
            for run, final, best in zip(result.curve.runs, result.finals, result.bests, strict=True):
                points, clock = run.metrics[analysis.tag], run.clock.values
                minutes = float(clock[-1]) / 60 if len(clock) else None
                names = (run.name, env.env, str(result.curve.method), None if run.seed is None else str(run.seed))
                ends = [int(points.steps[-1]), *[run.broke_down] * broke_down]
                rows.append((*names, *ends, minutes, float(final), float(best)))
    return Table("runs", "Runs", tuple(head), tuple(rows))


def curve_table(analysis: Analysis) -> Table:
    """The points of all curves, for those who draw them again."""
    head = ("environment", "method", "step", "iqm", "low", "high")
    rows: list[tuple[Cell, ...]] = []
    for env in analysis.environments:
        for result in env.curves:
            names = (env.env, str(result.curve.method))
            for values in zip(result.steps, result.band.value, result.band.low, result.band.high, strict=True):
                rows.append((*names, *map(float, values)))
    return Table("curves", "Points of the curves", head, tuple(rows))
