"""`python -m wnrl`, and the function that the command `wnrl` calls."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.metadata import ROOT, pyproject, write_metadata
from tests.wnrl.test_distribution import other
from wnrl import __main__

CONSOLE = "import sys; sys.argv[0] = '/bin/wnrl'; from wnrl.__main__ import main; sys.exit(main())"


def run(*arguments, paths, cwd, how=("-m", "wnrl")):
    """`python -m wnrl ARGUMENTS` in a process with these places first on its path."""
    path = os.pathsep.join(map(str, [*paths, ROOT]))
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "80"}
    command = [sys.executable, *how, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def installed(tmp_path):
    return write_metadata(tmp_path / "site-packages")


@pytest.mark.parametrize(
    ("how", "name"), [(("-m", "wnrl"), "python -m wnrl"), (("-c", CONSOLE), "wnrl")], ids=["module", "command"]
)
def test_the_entry_point_runs(how, name, installed, tmp_path):
    done = run("--help", paths=[installed], cwd=tmp_path, how=how)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {name} COMMAND ...\n")
    done = run("train", "dqn", "--env", "CartPole-v1", "--seed", "-1", paths=[installed], cwd=tmp_path, how=how)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{name} train dqn: error: seed must not be negative, got -1\n"


def test_the_command_is_the_function_of_this_module():
    assert pyproject()["project"]["scripts"] == {"wnrl": "wnrl.__main__:main"}
    assert pyproject()["project"]["entry-points"] == {__main__.GROUP: {"main": "agents.commands.entry:main"}}


@pytest.mark.parametrize("how", [("-m", "wnrl"), ("-c", CONSOLE)], ids=["module", "command"])
def test_another_agents_is_one_line_that_names_it(how, installed, tmp_path):
    file = other(tmp_path / "theirs", "agents", "openai-agents")
    done = run("--help", paths=[installed, tmp_path / "theirs"], cwd=tmp_path, how=how)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"wnrl: error: 'agents' is {file} here, of openai-agents, not wnrl's package: install wnrl in"
    )


def test_a_clone_that_is_not_installed_names_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: ())
    assert __main__.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"wnrl: error: wnrl is not installed: python -m pip install -e {ROOT}, or without it ")
    assert Path(line.split()[-1]).is_file()


def test_a_copy_that_is_no_clone_has_no_scripts_to_name(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: ())
    monkeypatch.setattr(__main__, "__file__", str(tmp_path / "wnrl" / "__main__.py"))
    assert __main__.main() == 2
    assert capsys.readouterr().err == "wnrl: error: wnrl is not installed, or not whole: install it again with pip\n"
