"""The tutorials' cells run from top to bottom."""

import os
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
CELL = re.compile(r"^```\{code-cell\} python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def cells(tutorial):
    return CELL.findall(tutorial.read_text())


def as_program(tutorial):
    """A program that does what the notebook does: lines that begin with an exclamation mark go to a shell."""
    lines = ["import subprocess as _subprocess"]
    for line in "\n".join(cells(tutorial)).splitlines():
        lines.append(f"_subprocess.run({line[1:]!r}, shell=True, check=True)" if line.startswith("!") else line)
    return "\n".join(lines)


def shortened(program):
    """The program with a few steps of learning, single games and two seeds."""
    program = re.sub(r"\blearn\(([0-9_]+)", lambda found: f"learn({min(int(found[1]), 1_100)}", program)
    program = re.sub(r"(\bevaluate\(|episodes=)[0-9]+", r"\1 1", program)
    return re.sub(r"\brange\([35]\)", "range(2)", program)


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
@pytest.mark.parametrize("length", [pytest.param("whole", marks=pytest.mark.slow), "short"])
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=[tutorial.stem for tutorial in TUTORIALS])
def test_a_tutorial_runs(tutorial, length, tmp_path, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib", reason='needs pip install -e ".[report]"')
    if length == "short" and "several" in tutorial.stem:
        pytest.skip("torchrun starts two processes, which is tried whole")
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for name, value in {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    program = as_program(tutorial)
    names = {"__name__": "notebook"}
    exec(compile(program if length == "whole" else shortened(program), tutorial.name, "exec"), names)


def test_there_are_six_and_the_site_lists_them():
    assert len(TUTORIALS) == 6
    index = (ROOT / "docs" / "index.md").read_text()
    assert all(f"\ntutorials/{tutorial.stem}\n" in index for tutorial in TUTORIALS)
    assert all(len(cells(tutorial)) >= 2 for tutorial in TUTORIALS)


def test_shell_lines_go_to_a_shell(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```{code-cell} python\nx = 1\n!echo hi\n```\ntext\n```bash\nrm\n```\n")
    assert as_program(page).splitlines()[1:] == ["x = 1", "_subprocess.run('echo hi', shell=True, check=True)"]
