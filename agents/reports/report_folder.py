"""The folder of a report: its page, figures and tables."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from agents.reports.charts import charts
from agents.reports.findings import Analysis
from agents.reports.page import markdown, page
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
LIST = "files.txt"
_HEAD = "Files of a wnrl report, which the next one replaces or removes:"
"""First line of the list of a report's files, by which they are told from those of others."""
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")
"""Name of a file that was being written, around that of the file."""


def check_folder(folder: Path) -> None:
    """Check before the work that a report can be written there: in a new or an empty folder, or over an earlier report.

    A report that was not finished has its list of files too, see `write_report`.

    Raises:
        ValueError: it is a file, cannot be read, or holds a file that is not in the list.
    """
    if not os.path.lexists(folder):
        return
    if not os.path.isdir(folder):
        raise ValueError(f"{folder} is no folder: give another --out")
    try:
        own = _listed(folder)
    except OSError as error:
        raise ValueError(f"cannot read {folder / LIST} ({error.strerror}): give another --out") from error
    for name in _files(folder):
        if _written_as(name) not in own:
            raise ValueError(f"{folder} holds {name}, which is of no report: give another --out")


def _listed(folder: Path) -> set[str]:
    """Paths of a report's files, the list's too, by that list; where there is none, the list's alone."""
    path = folder / LIST
    lines = path.read_text("utf-8", "replace").splitlines() if os.path.lexists(path) else [_HEAD]
    return {LIST, *lines[1:]} if lines[:1] == [_HEAD] else set()


def _listing(names: Iterable[str]) -> bytes:
    return "\n".join([_HEAD, *sorted(names), ""]).encode()


def _written_as(name: str) -> str:
    """The path, or of a temporary file that of the file that it was to be."""
    folder, slash, last = name.rpartition("/")
    temporary = _TEMPORARY.fullmatch(last)
    return f"{folder}{slash}{temporary[1]}" if temporary else name


def _files(folder: Path) -> list[str]:
    """Paths in the folder of all that is no folder of its own, links to folders too."""
    found = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    return [path.relative_to(folder).as_posix() for path in found]


def write_report(folder: Path, title: str, analysis: Analysis, notes: Sequence[str]) -> Path:
    """Write a report, over an earlier one where there is one; returns the path of its page.

    The list of its files and of the earlier one's comes first, so that after a failure the same command can write
    there. No file that is in neither is removed.

    Raises:
        ValueError: it cannot be written.
    """
    files = report_files(title, analysis, notes)
    try:
        own = _listed(folder) | files.keys()
        _write(folder / LIST, _listing(own))
        for name, content in files.items():
            _write(folder / name, content)
        for name in _files(folder):
            if name not in files and name != LIST and _written_as(name) in own:  # of an earlier report
                (folder / name).unlink()
        _write(folder / LIST, _listing({LIST, *files}))
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
        files[f"tables/{table.name}.csv"] = _encoded(table.as_csv())
        if table.name != "curves":
            files[f"tables/{table.name}.md"] = _encoded(table.as_markdown())
    files["report.md"] = _encoded(markdown(title, analysis, tables, notes))
    files[PAGE] = _encoded(page(title, analysis, sections, tables, notes))
    return files


def _encoded(text: str) -> bytes:
    """UTF-8, with escapes for letters outside it, which names of folders may have."""
    return text.encode("utf-8", "backslashreplace")


def tables_of(analysis: Analysis) -> dict[str, Table]:
    """The tables of a report by name; of settings and scores empty ones too."""
    found = [score_table(analysis), threshold_table(analysis), improvement_table(analysis), run_table(analysis)]
    found += [aggregate_table(analysis), *difference_tables(analysis), same_table(analysis), curve_table(analysis)]
    return {table.name: table for table in found if table.rows or table.name.startswith(("settings", "scores"))}
