import sys
from functools import partial
from pathlib import Path

from tests.scripts.processes import call, refused_by

refused = partial(refused_by, "comparisons")
DOCS = Path(__file__).parents[2] / "docs"
LIST = DOCS / "studies" / "comparisons.csv"


def test_the_tables_of_the_docs_are_what_the_command_prints():
    result = call("comparisons", LIST)
    assert (result.code, result.err) == (0, "")
    rows = [cells(line) for line in result.out.splitlines() if line and "---" not in line]
    assert len(rows) > 20
    page = [cells(line) for line in (DOCS / "comparisons.md").read_text().splitlines() if line.startswith("|")]
    assert [row for row in rows if row not in page] == []


def cells(row):
    return [cell.strip() for cell in row.split("|")]


def test_the_figure_is_drawn_where_it_is_asked_for(tmp_path):
    drawn = call("comparisons", LIST, "--norm", "layer", "--figure", tmp_path / "layer.png")
    assert drawn.code == 0, drawn.err
    assert "| `none` | `layer` |" in drawn.out
    assert (tmp_path / "layer.png").read_bytes().startswith(b"\x89PNG")


def test_bad_input_is_one_line(tmp_path, monkeypatch):
    refused(tmp_path / "no.csv", saying=["cannot read", "no.csv"])
    refused(LIST, "--norm", "wieght", saying=["no comparison has 3 seeds with wieght"])
    refused(LIST, "--figure", tmp_path / "no" / "f.png", saying=["cannot write", "No such file"])
    refused(LIST, "--figure", tmp_path / "f.xyz", saying=["xyz"])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(LIST, "--figure", tmp_path / "f.png", saying=["matplotlib", 'pip install "wnrl[report]"'])
