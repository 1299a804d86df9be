"""The directive `flags` (```{flags} train dqn```), and what autodoc leaves out and shows as code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from extension.cross_references import resolve, show_public_bases
from extension.flag_tables import Row, groups

PACKAGES = ("wnrl", "agents", "envs")
COLUMNS = {"Flag": 30, "Default": 20, "Meaning": 50}
"""Headings, with shares of the width."""


class Flags(SphinxDirective):
    """The flags of a command, in a section with a table for each group."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """The sections."""
        command = self.arguments[0]
        return [_section(command, heading, rows) for heading, rows in groups(command).items()]


def _section(command: str, heading: str, rows: Sequence[Row]) -> nodes.section:
    title, table = nodes.title(text=heading), _table(command, rows)
    return nodes.section("", title, table, ids=[_slug(f"{command} {heading}")])


def _table(command: str, rows: Sequence[Row]) -> nodes.table:
    columns = [nodes.colspec(colwidth=width) for width in COLUMNS.values()]
    head = nodes.thead("", nodes.row("", *(_cell(nodes.Text(name)) for name in COLUMNS)))
    body = nodes.tbody("", *(_row(command, row) for row in rows))
    return nodes.table("", nodes.tgroup("", *columns, head, body, cols=len(COLUMNS)), classes=["flags"])


def _row(command: str, row: Row) -> nodes.row:
    names = row.flag.split(", ")
    flag = [part for name in names for part in (nodes.literal(text=name), nodes.Text(" "))]
    cells = _cell(*flag, nodes.Text(row.takes)), _cell(nodes.Text(row.default)), _cell(nodes.Text(row.text))
    return nodes.row("", *cells, ids=[_slug(f"{command} {names[0]}")])


def _cell(*parts: nodes.Node) -> nodes.entry:
    return nodes.entry("", nodes.paragraph("", "", *parts))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def skips(app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Whether autodoc leaves a member out: functions of torch, and fields of a named tuple, which its text lists."""
    foreign = callable(member) and (getattr(member, "__module__", None) or "").split(".")[0] not in PACKAGES
    return True if foreign or type(member).__name__ == "_tuplegetter" else None


def mark_code(app: Sphinx, what: str, name: str, member: Any, options: Any, lines: list[str]) -> None:
    """Let an indented block between paragraphs be code, in place."""
    for index in range(len(lines) - 1, 1, -1):
        above, blank, line = lines[index - 2 : index + 1]
        if line.startswith("    ") and not blank and above and not above.startswith(" "):
            lines[index:index] = [".. code-block:: python", ""]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all of it."""
    app.add_directive("flags", Flags)
    app.connect("autodoc-skip-member", skips)
    app.connect("autodoc-process-bases", show_public_bases)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", mark_code, priority=400)  # before napoleon
    return {"version": "1", "parallel_read_safe": True}
