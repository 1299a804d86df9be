import sys
from functools import partial

import pytest
from rate_study.row_file import held

from tests.scripts.processes import call, refused_by, start

refused = partial(refused_by, "learning_rates")

TINY = ["--norms", "none", "weight", "--rates", "0.001", "0.01", "--seeds", "1", "--epochs", "1"]


def test_tables_figure_and_rows_come_out_and_a_second_call_trains_nothing(tmp_path):
    out = tmp_path / "new"
    first = call("learning_rates", "digits", *TINY, "--out", out)
    assert (first.code, first.err) == (0, "")
    assert "4 of 4: digits, weight, rate 0.01, seed 0: loss " in first.out
    assert (out / "digits.md").read_text() in first.out
    assert (out / "digits.png").read_bytes().startswith(b"\x89PNG")
    rows = (out / "runs.csv").read_text()
    assert rows.count("\n") == 5
    again = call("learning_rates", "digits", *TINY, "--out", out)
    assert again.out == (out / "digits.md").read_text()
    assert (out / "runs.csv").read_text() == rows


def test_options_come_through(tmp_path):
    options = ["--optimizer", "sgd", "--init", "preserve", "--units", "paper", "--progress", "0.5"]
    options = [*TINY, "--norms", "weight", "--rates", "0.1", *options]
    result = call("learning_rates", "digits", *options, "--out", tmp_path)
    assert (result.code, result.err) == (0, "")
    assert "works (50 %)" in result.out
    assert "digits,weight,0.1,0,1,sgd,preserve,paper,0," in (tmp_path / "runs.csv").read_text()


def test_ctrl_c_leaves_in_one_line(tmp_path, monkeypatch):
    def interrupt(run):
        raise KeyboardInterrupt

    monkeypatch.setattr("rate_study.results.train_once", interrupt)
    result = call("learning_rates", "digits", *TINY, "--out", tmp_path)
    assert (result.code, result.out) == (130, "stopped: the same command goes on\n")


def test_bad_input_is_one_line(tmp_path):
    refused("letters", saying=["'letters'", "digits"])
    refused(saying=["Missing"])
    refused("sequence", "--norms", "batch", saying=["'batch' is not compared in sequence: choose from none, weight"])
    refused("digits", "--rates", "-1", saying=["rates must be positive, got -1"])
    refused("digits", "--optimizer", "x", saying=["--optimizer", "adam"])
    refused("digits", "--rates", "1e30", "1e38", saying=["rates must be at most 1e+37, got 1e+38"])
    refused("digits", "--progress", "1.5", saying=["progress must be shares over 0, up to 1", "1.5"])
    refused("digits", "--jobs", 0, "--out", tmp_path, saying=["jobs must be at least 1, got 0"])
    (tmp_path / "runs.csv").write_text("a,b\n1,2\n")
    refused("digits", "--out", tmp_path, saying=["was made by something else"])


def test_a_second_command_in_a_folder_is_refused(tmp_path):
    with held(tmp_path):
        refused("digits", *TINY, "--out", tmp_path, saying=[f"{tmp_path} is being written by process"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_two_commands_at_once_lose_no_rows(tmp_path):
    """One of them has the folder, or both one after the other."""
    rates = (["0.001", "0.002"], ["0.003", "0.004"])
    both = [start("learning_rates", "digits", *TINY, "--rates", *some, "--out", tmp_path) for some in rates]
    said = [process.communicate()[1] for process in both]
    ended = [process.returncode for process in both]
    assert sorted(ended) in ([0, 0], [0, 2]), said
    assert all("is being written by" in text for text, code in zip(said, ended, strict=True) if code)
    rows = (tmp_path / "runs.csv").read_text().splitlines()[1:]
    assert len(rows) == 4 * ended.count(0)


def test_tables_that_cannot_be_written_are_one_line(tmp_path):
    (tmp_path / "digits.md").mkdir()
    result = call("learning_rates", "digits", *TINY, "--out", tmp_path)
    assert result.code == 2
    assert result.err.startswith(f"learning_rates.py: error: cannot write {tmp_path}/digits.md (")
    assert result.err.count("\n") == 1
    assert (tmp_path / "runs.csv").read_text().count("\n") == 5


@pytest.mark.parametrize(("module", "name"), [("matplotlib", "matplotlib"), ("sklearn.datasets", "scikit-learn")])
def test_a_missing_package_is_one_line(module, name, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    refused("digits", saying=[name, 'pip install "wnrl[report]"'])
