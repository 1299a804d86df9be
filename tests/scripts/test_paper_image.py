"""scripts/paper_image.py, and with it scripts/paper/command.py and summary.py"""

import csv

import pytest

from tests.scripts.processes import call

SMALL = ["--epochs", 2, "--examples", 200, "--image-size", 12, "--norms", "none", "weight", "--seeds", 2]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("paper") / "study"
    return out, call("paper_image", *SMALL, "--out", out)


def test_runs_summary_table_and_figure_come_out(study):
    out, result = study
    assert (result.code, result.err) == (0, "")
    names = {f"{norm}-s{seed}" for norm in ("none", "weight") for seed in (0, 1)}
    assert {path.name for path in out.iterdir()} == names | {"summary.csv", "table.md", "curves.png"}
    with (out / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["norm"], row["seed"], row["epoch"]) for row in rows[:3]] == [
        ("none", "0", "1"),
        ("none", "0", "2"),
        ("weight", "0", "1"),
    ]
    assert len(rows) == 8
    assert {float(row["train/learning_rate"]) for row in rows if row["norm"] == "none"} == {0.0003}
    table = (out / "table.md").read_text()
    assert result.out.endswith(table)
    head, _, none, weight = table.splitlines()
    assert head.startswith("| norm | test error, % | training loss, nats | seconds of training | paper |")
    last = sorted(100 * float(row["test/error"]) for row in rows if row["norm"] == "weight" and row["epoch"] == "2")
    assert f"{sum(last) / 2:.3g} ({last[0]:.3g} to {last[1]:.3g})" in weight
    assert none.endswith("| 8.43 % |")


def test_a_second_call_trains_nothing_and_says_the_same(study):
    out, first = study
    written = {path: path.stat().st_mtime_ns for path in out.glob("*/progress.csv")}
    assert call("paper_image", *SMALL, "--out", out).out == first.out
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/progress.csv")} == written


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (["--data", "imagenet"], "unknown data set 'imagenet'"),
        (["--data", "mnist", "--data-dir", "nowhere"], "of MNIST is not in nowhere"),
        (["--image-size", 8], "too small for ConvPool-CNN-C"),
        (["--norms", "layer"], "norm 'layer' is not compared here"),
        (["--seeds", 0], "seeds must be at least 1"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, saying, tmp_path):
    result = call("paper_image", *arguments, "--out", tmp_path / "study")
    assert (result.code, result.out) == (2, "")
    assert saying in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "study").exists()
