"""The folder of a report: its page, figures and tables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from agents.reports.charts import charts
from agents.reports.findings import Analysis
from agents.reports.page import GENERATOR, UNFINISHED, markdown, page
from agents.reports.tables import (
    Table,
    aggregate_table,
    curve_table,
    difference_tables,
    improvement_table,
    run_table,
    same_table,
    score_table,
    threshold_table,
)
from wnrl.checkpoints.files import replacing

PAGE = "index.html"
_OURS = re.compile(r"index\.html|report\.md|figures/[^/]+\.(png|svg)|tables/[^/]+\.(csv|md)")
_LEFT = re.compile(
    r"(\.index\.html|\.report\.md|figures/\.[^/]+\.(png|svg)|tables/\.[^/]+\.(csv|md))\.[0-9a-f]{8}\.tmp"
)
"""Temporary files of a report that was killed."""


def check_folder(folder: Path) -> None:
    """Check before the work that a report can be written there: in a new or an empty folder, or over an earlier report.

    A report that was not finished has its page too, see `write_report`.

    Raises:
        ValueError: it is a file, or holds anything else.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give another --out")
    files = [name for name in _files(folder) if not _LEFT.fullmatch(name)]
    if not files:
        return
    others = [name for name in files if not _OURS.fullmatch(name)]
    index = folder / PAGE
    if others or not index.is_file() or GENERATOR not in index.read_text("utf-8", "replace")[:2000]:
        raise ValueError(f"{folder} holds {(others or files)[0]}, which is of no report: give another --out")


def _files(folder: Path) -> list[str]:
    """Paths in the folder of all that is no folder of its own, links to folders too."""
    found = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    return [path.relative_to(folder).as_posix() for path in found]


def write_report(folder: Path, title: str, analysis: Analysis, notes: Sequence[str]) -> Path:
    """Write a report, over an earlier one where there is one; returns the path of its page.

    A page that says that it is not finished comes first, so that after a failure the same command can write there.

    Raises:
        ValueError: it cannot be written.
    """
    files = report_files(title, analysis, notes)
    try:
        if not (folder / PAGE).exists():
            _write(folder / PAGE, UNFINISHED.encode())
        for name, content in files.items():
            _write(folder / name, content)
        for name in _files(folder):
            if name not in files and (_OURS.fullmatch(name) or _LEFT.fullmatch(name)):  # of an earlier report
                (folder / name).unlink()
    except OSError as error:
        raise ValueError(f"cannot write the report to {folder}: {error.strerror}") from error
    return folder / PAGE


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def report_files(title: str, analysis: Analysis, notes: Sequence[str]) -> Mapping[str, bytes]:
    """Contents of the files of a report by path; the page comes last."""
    sections = {name: [chart.drawn() for chart in section] for name, section in charts(analysis).items()}
    tables = tables_of(analysis)
    files: dict[str, bytes] = {}
    for figure in [figure for section in sections.values() for figure in section]:
        files |= {f"figures/{figure.name}.png": figure.png, f"figures/{figure.name}.svg": figure.svg}
    for table in tables.values():
        files[f"tables/{table.name}.csv"] = table.as_csv().encode()
        if table.name != "curves":
            files[f"tables/{table.name}.md"] = table.as_markdown().encode()
    files["report.md"] = markdown(title, analysis, tables, notes).encode()
    files[PAGE] = page(title, analysis, sections, tables, notes).encode()
    return files


def tables_of(analysis: Analysis) -> dict[str, Table]:
    """The tables of a report by name; of settings and scores empty ones too."""
    found = [score_table(analysis), threshold_table(analysis), improvement_table(analysis), run_table(analysis)]
    found += [aggregate_table(analysis), *difference_tables(analysis), same_table(analysis), curve_table(analysis)]
    return {table.name: table for table in found if table.rows or table.name.startswith(("settings", "scores"))}
