import csv
import sys
from itertools import pairwise
from unittest import mock

import pytest
from paper import loop
from paper.command import complete, run
from paper.loop import Stopped
from paper.summary import make_figure

from tests.scripts.paper.toy import Toy, ToySettings, stop_after

PER_RUN = 8  # updates: 2 epochs of 4 minibatches


@pytest.fixture(autouse=True)
def _nothing_prepared(monkeypatch):
    """Experiments of earlier tests are forgotten; figures, which take longer than all else, are left out."""
    loop.prepared.cache_clear()
    monkeypatch.setattr("paper.command.make_figure", lambda settings, runs: mock.Mock())


def study(out, **options):
    return ToySettings(out=out, **{"epochs": 2, "batch_size": 10, "seeds": 1, "device": "cpu", **options})


def summary(folder):
    """Its rows, without what the clock says."""
    with (folder / "summary.csv").open(newline="") as file:
        return [{name: cell for name, cell in row.items() if name != "time/seconds"} for row in csv.DictReader(file)]


def counted_readings(monkeypatch):
    """A list that grows whenever data are read."""
    read, experiment = [], ToySettings.experiment
    monkeypatch.setattr(ToySettings, "experiment", lambda self: read.append(self) or experiment(self))
    return read


def test_seeds_come_one_after_the_other_each_with_all_norms(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("paper.command.make_figure", make_figure)
    text = complete(study(tmp_path, seeds=2))
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(", epoch 2: test error ")[0] for line in lines] == [
        "1 of 4: none, seed 0",
        "2 of 4: weight, seed 0",
        "3 of 4: none, seed 1",
        "4 of 4: weight, seed 1",
    ]
    assert (tmp_path / "table.md").read_text() == text + "\n"
    assert len(summary(tmp_path)) == 8
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_data_are_read_once_and_not_at_all_where_every_run_has_ended(tmp_path, monkeypatch, capsys):
    read = counted_readings(monkeypatch)
    first = complete(study(tmp_path)), capsys.readouterr().out
    assert len(read) == 1
    loop.prepared.cache_clear()
    assert (complete(study(tmp_path)), capsys.readouterr().out) == first
    assert len(read) == 1
    complete(study(tmp_path, seeds=2))
    assert len(read) == 2


def test_fewer_norms_and_seeds_are_a_part_of_the_study_that_needs_no_data(tmp_path, monkeypatch):
    complete(study(tmp_path, seeds=2, epochs=1))
    monkeypatch.setattr(ToySettings, "experiment", lambda self: pytest.fail("data were read"))
    loop.prepared.cache_clear()
    complete(study(tmp_path, epochs=1, norms=("weight",)))
    assert [(row["norm"], row["seed"]) for row in summary(tmp_path)] == [("weight", "0")]


def test_what_is_to_be_said_of_the_data_is_printed_before_the_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Toy, "remark", "3 of 5 are left out")
    complete(study(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 of 5 are left out"
    assert len(lines) == 3


@pytest.mark.parametrize("updates", [4, PER_RUN, PER_RUN + 7])
def test_a_study_that_was_stopped_goes_on_to_the_same_summary(updates, tmp_path, monkeypatch):
    complete(study(tmp_path / "whole"))
    stopped = study(tmp_path / "stopped")
    with monkeypatch.context() as patch:
        stop_after(patch, updates)
        with pytest.raises(Stopped):
            complete(stopped)
    assert not (stopped.out / "summary.csv").exists()
    made = stop_after(monkeypatch, -1)
    complete(stopped)
    assert len(made) == 2 * PER_RUN - updates
    assert summary(stopped.out) == summary(tmp_path / "whole")


def test_a_study_that_was_stopped_several_times(tmp_path, monkeypatch):
    complete(study(tmp_path / "whole"))
    stopped = study(tmp_path / "stopped")
    ends = [5, 7, 8, 11, 15]
    for before, now in pairwise([0, *ends]):
        with monkeypatch.context() as patch:
            stop_after(patch, now - before)
            with pytest.raises(Stopped):
                complete(stopped)
    complete(stopped)
    assert summary(stopped.out) == summary(tmp_path / "whole")


def test_runs_with_other_settings_are_refused_whether_they_have_ended_or_not(tmp_path, monkeypatch):
    complete(study(tmp_path / "ended", norms=("none",)))
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Stopped):
            complete(study(tmp_path / "stopped"))
    for name in ("ended", "stopped"):
        with pytest.raises(ValueError, match=r"none-s0 holds a run with --epochs 2, not 5: choose another --out"):
            complete(study(tmp_path / name, epochs=5))


def run_toy(monkeypatch, capsys, *arguments):
    """Exit code, output and errors of a command with these arguments."""
    monkeypatch.setattr(sys, "argv", ["toy.py"])
    try:
        code = run(ToySettings, "A line.", [*map(str, arguments)])
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


def test_the_command_prints_the_table_and_ends_with_0(tmp_path, monkeypatch, capsys):
    code, out, err = run_toy(monkeypatch, capsys, "--epochs", 1, "--batch-size", 40, "--seeds", 1, "--out", tmp_path)
    assert (code, err) == (0, "")
    assert out.endswith((tmp_path / "table.md").read_text())


def test_a_stop_is_one_line_and_the_signals_exit_code(tmp_path, monkeypatch, capsys):
    stop_after(monkeypatch, 2)
    code, out, err = run_toy(monkeypatch, capsys, "--batch-size", 10, "--out", tmp_path)
    assert (code, out, err) == (143, "stopped: the same command goes on\n", "")


def test_an_interrupt_while_data_are_read_is_a_stop_too(tmp_path, monkeypatch, capsys):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(ToySettings, "experiment", interrupted)
    code, out, err = run_toy(monkeypatch, capsys, "--out", tmp_path)
    assert (code, out, err) == (130, "stopped: the same command goes on\n", "")


@pytest.mark.parametrize("error", [ValueError("no\ndata"), OSError("no\ndata")])
def test_what_is_wrong_with_the_data_is_one_line_and_leaves_nothing(error, tmp_path, monkeypatch, capsys):
    def damaged(self):
        raise error

    monkeypatch.setattr(ToySettings, "experiment", damaged)
    assert run_toy(monkeypatch, capsys, "--out", tmp_path / "out") == (2, "", "toy.py: error: no data\n")
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_nothing_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, out, err = run_toy(monkeypatch, capsys, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert "the figure needs matplotlib" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["progress.csv", "config.json"])
def test_a_file_that_was_removed_from_an_ended_run_is_named_in_one_line(name, tmp_path, monkeypatch, capsys):
    arguments = ["--epochs", 1, "--batch-size", 40, "--seeds", 1, "--norms", "none", "--out", tmp_path]
    assert run_toy(monkeypatch, capsys, *arguments)[0] == 0
    (tmp_path / "none-s0" / name).unlink()
    code, out, err = run_toy(monkeypatch, capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert name in err


def test_a_table_that_lost_its_rows_is_named_in_one_line(tmp_path, monkeypatch, capsys):
    arguments = ["--epochs", 1, "--batch-size", 40, "--seeds", 1, "--norms", "none", "--out", tmp_path]
    assert run_toy(monkeypatch, capsys, *arguments)[0] == 0
    (tmp_path / "none-s0" / "progress.csv").write_text("")
    code, out, err = run_toy(monkeypatch, capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "progress.csv has no rows" in err
