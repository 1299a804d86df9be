"""The tables of flags on the site are those that the commands read."""

import contextlib
import io
import re
import sys

import pytest

from agents.commands.entry import COMMANDS as NAMES
from agents.commands.entry import main
from tests.metadata import ROOT

sys.path.append(str(ROOT / "docs"))
from extension.flag_tables import COMMANDS, groups

PAGES = "\n".join(path.read_text() for path in sorted((ROOT / "docs" / "reference").glob("*.md")))


def help_of(command):
    """What `wnrl COMMAND --help` prints of the flags."""
    printed, which = io.StringIO(), "--help-all" if command.startswith("train") else "--help"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("COLUMNS", "100")
        with contextlib.suppress(SystemExit):
            main([*command.split(), which])
    return printed.getvalue()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_flags_are_those_of_the_help(command):
    rows = [row for table in groups(command).values() for row in table]
    shown = {flag for row in rows for flag in re.findall(r"--([a-z0-9-]+)", row.flag)}
    columns = re.findall(r"^[│ ]{0,2}((?:-h, )?--[a-z].*?)(?:  |│|$)", help_of(command), flags=re.MULTILINE)
    printed = {flag for column in columns for flag in re.findall(r"--([a-z0-9-]+)", column)}
    assert shown == printed - {"help", "help-all"}
    assert all(row.text or row.flag.startswith("--norm") for row in rows)


def test_a_row():
    rows = {row.flag: row for table in groups("train dqn").values() for row in table}
    assert rows["--steps"].takes == "INT"
    assert "with --env" in rows["--steps"].default
    assert rows["--double, --no-double"].takes == ""
    assert [row.flag for table in groups("evaluate").values() for row in table][:2] == ["RUN_DIR", "--epsilon"]


def test_every_command_has_a_page():
    assert sorted(re.findall(r"^```\{flags\} (.+)$", PAGES, flags=re.MULTILINE)) == sorted(COMMANDS)
    assert {command.split()[0] for command in COMMANDS} >= {"train", *NAMES}
