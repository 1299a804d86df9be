"""The directives `flags` (```{flags} train dqn```) and `preset` (```{preset} dqn.nature NATURE```), and what autodoc
leaves out and shows as code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from extension.cross_references import resolve, show_public_bases
from extension.flag_tables import Row, groups
from extension.preset_tables import preset

PACKAGES = ("wnrl", "agents", "envs")
FLAGS = {"Flag": 30, "Default": 20, "Meaning": 50}
VALUES = {"Flag": 30, "Value": 20, "Source": 50}
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
    title, table = nodes.title(text=heading), _table(FLAGS, [_row(command, row) for row in rows])
    return nodes.section("", title, table, ids=[_slug(f"{command} {heading}")])


class Values(SphinxDirective):
    """The values of a preset with their sources: a module of `agents.settings.presets` and a name in it."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        """What holds for all of it, and the table."""
        module, constant = self.arguments
        found = preset(module, constant)
        shown: list[nodes.Node] = [nodes.paragraph(text=found.source)] if found.source else []
        if found.bases:
            without = f", without {', '.join(found.without)}" if found.without else ""
            shown.append(nodes.paragraph(text=f"All other values are those of {', '.join(found.bases)}{without}."))
        rows = [
            nodes.row("", _cell(nodes.literal(text=f"--{flag}")), _cell(nodes.Text(value)), _cell(nodes.Text(source)))
            for flag, value, source in found.rows
        ]
        table = _table(VALUES, rows)
        table["classes"].append("values")
        return [*shown, table]


def _table(headings: Mapping[str, int], rows: Sequence[nodes.row]) -> nodes.table:
    columns = [nodes.colspec(colwidth=width) for width in headings.values()]
    head = nodes.thead("", nodes.row("", *(_cell(nodes.Text(name)) for name in headings)))
    return nodes.table(
        "", nodes.tgroup("", *columns, head, nodes.tbody("", *rows), cols=len(headings)), classes=["flags"]
    )


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
    app.add_directive("preset", Values)
    app.connect("autodoc-skip-member", skips)
    app.connect("autodoc-process-bases", show_public_bases)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", mark_code, priority=400)  # before napoleon
    return {"version": "1", "parallel_read_safe": True}
