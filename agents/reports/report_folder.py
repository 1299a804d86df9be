"""The folder of a report: its page, figures and tables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from agents.reports.charts import charts
from agents.reports.findings import Analysis
from agents.reports.page import GENERATOR, markdown, page
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


def check_folder(folder: Path) -> None:
    """Check before the work that a report can be written there: in a new or an empty folder, or over an earlier report.

    Raises:
        ValueError: it is a file, or holds anything else.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give another --out")
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    if not files:
        return
    others = [path for path in files if not _OURS.fullmatch(path.relative_to(folder).as_posix())]
    index = folder / PAGE
    if others or not index.is_file() or GENERATOR not in index.read_text("utf-8", "replace")[:2000]:
        held = (others or files)[0].relative_to(folder)
        raise ValueError(f"{folder} holds {held}, which is of no report: give another --out")


def write_report(folder: Path, title: str, analysis: Analysis, notes: Sequence[str]) -> Path:
    """Write a report, over an earlier one where there is one; returns the path of its page.

    Raises:
        ValueError: it cannot be written.
    """
    files = report_files(title, analysis, notes)
    try:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        for path in [*folder.glob("figures/*"), *folder.glob("tables/*")]:
            if path.relative_to(folder).as_posix() not in files:  # of the earlier report
                path.unlink()
    except OSError as error:
        raise ValueError(f"cannot write the report to {folder}: {error.strerror}") from error
    return folder / PAGE


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
