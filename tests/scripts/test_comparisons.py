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
    section = (DOCS / "comparisons.md").read_text().split("\n## ")[1]
    assert section.startswith("In short\n")
    assert tables(section) == tables(result.out)
    (weight,) = (row for row in tables(result.out)[1] if row[0] == "`weight`")
    readme = (DOCS.parent / "README.md").read_text()
    assert f"better with a probability of {weight[4]}" in readme


def test_what_the_page_says_of_other_baselines_is_what_the_command_prints():
    page = (DOCS / "comparisons.md").read_text()
    same_rate = call("comparisons", LIST.with_name("comparisons-ppo-3e-3.csv"))
    own = call("comparisons", LIST.with_name("comparisons-own.csv"))
    pong = call("comparisons", LIST.with_name("comparisons-pong.csv"))
    against_weight = call("comparisons", LIST, "--norm", "layer", "--baseline", "weight")
    assert (same_rate.code, own.code, pong.code, against_weight.code) == (0, 0, 0, 0)
    said = (
        (same_rate, ["`weight`", "`layer`", "`layer+projected`"]),
        (own, ["`weight`"]),
        (pong, ["`weight`"]),
        (against_weight, ["`layer`"]),
    )
    for result, norms in said:
        found = {row[0]: row[4] for row in tables(result.out)[1]}
        assert [norm for norm in norms if found[norm] not in page] == []


def tables(text):
    """The cells of each table in Markdown, without the line below its head."""
    found, inside = [], False
    for line in text.splitlines():
        if line.startswith("|"):
            if not inside:
                found.append([])
            if not line.startswith(("|---", "| ---")):
                found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        inside = line.startswith("|")
    return found


def test_the_figure_is_drawn_where_it_is_asked_for(tmp_path):
    drawn = call("comparisons", LIST, "--norm", "layer", "--figure", tmp_path / "layer.png")
    assert drawn.code == 0, drawn.err
    assert "| `none` | `layer` |" in drawn.out
    assert (tmp_path / "layer.png").read_bytes().startswith(b"\x89PNG")


def test_what_has_too_few_seeds_is_named(tmp_path):
    runs = [(task, norm, seed) for task in ("A-v1", "B-v1") for norm in ("none", "weight") for seed in range(3)]
    lines = [f"{task},{norm},{seed},{seed}" for task, norm, seed in runs[:-1]]  # B has two seeds with weight
    (tmp_path / "runs.csv").write_text("\n".join(["task,norm,seed,final score", *lines]))
    (tmp_path / "list.csv").write_text("agent,task,runs,none\nX,A-v1,runs.csv,\nX,B-v1,runs.csv,\n")
    result = call("comparisons", tmp_path / "list.csv")
    assert (result.code, result.err) == (0, "left out, with too few seeds: X, B-v1\n")


def test_bad_input_is_one_line(tmp_path, monkeypatch):
    refused(tmp_path / "no.csv", saying=["cannot read", "no.csv"])
    refused(LIST, "--norm", "wieght", saying=["no comparison of 'wieght' with 'none' has 3 seeds; there are weight"])
    refused(LIST, "--figure", tmp_path / "no" / "f.png", saying=["cannot write", "No such file"])
    for name in ("f.xyz", "f", "."):
        refused(LIST, "--figure", tmp_path / name, saying=["figure must be a file .png or .svg"])
    monkeypatch.setitem(sys.modules, "scipy", None)
    refused(LIST, saying=["scipy", 'pip install "wnrl[report]"'])
