import csv
import math
from dataclasses import replace

import pytest
import torch
from rate_study import results
from rate_study.results import Results, complete
from rate_study.study import Outcome, StudyRun

RUN = StudyRun("digits", "none", rate=0.1, seed=0, epochs=2, optimizer="adam", init="data", units="sqrt")
RUNS = [replace(RUN, seed=seed) for seed in range(4)]


def outcome(run):
    return Outcome(run, (2.0, 1 / 3 + run.seed), full_loss=0.1, test_loss=0.7, test_error=0.25, seconds=1.5)


@pytest.fixture
def trained(monkeypatch):
    """Seeds of the runs that are trained, in order; the training itself takes no time."""
    seeds = []

    def train(run):
        seeds.append(run.seed)
        return outcome(run)

    monkeypatch.setattr(results, "train_once", train)
    return seeds


def silent(line):
    pass


def test_outcomes_come_back_exactly(tmp_path):
    path = tmp_path / "new" / "runs.csv"
    lost = outcome(RUNS[1])._replace(curve=(math.nan,), full_loss=math.inf, test_loss=math.nan)
    for made in (outcome(RUNS[0]), lost):
        Results(path).add([made])
    back = Results(path).rows
    assert back[RUNS[0]] == outcome(RUNS[0])
    assert back[RUNS[1]].diverged
    assert back[RUNS[1]].full_loss == math.inf
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["diverged"], row["loss"]) for row in rows] == [("0", str(1 / 3)), ("1", "inf")]


def test_what_is_there_is_not_trained_again(tmp_path, trained):
    path = tmp_path / "runs.csv"
    first = complete(Results(path), RUNS[:2], jobs=1, say=silent)
    everything = complete(Results(path), RUNS, jobs=1, say=silent)
    assert trained == [0, 1, 2, 3]
    assert everything == [*first, outcome(RUNS[2]), outcome(RUNS[3])]
    complete(Results(path), [replace(RUN, epochs=3)], jobs=1, say=silent)
    assert trained == [0, 1, 2, 3, 0]


def test_an_interruption_loses_no_outcome(tmp_path, trained):
    path = tmp_path / "runs.csv"

    def interrupt(line):
        if line.startswith("2 of 4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        complete(Results(path), RUNS, jobs=1, say=interrupt)
    assert list(Results(path).rows) == RUNS[:2]


def test_a_row_that_was_cut_off_is_made_again(tmp_path, trained):
    path = tmp_path / "runs.csv"
    complete(Results(path), RUNS[:2], jobs=1, say=silent)
    whole = path.read_text()
    path.write_text(whole[:-9])
    complete(Results(path), RUNS[:2], jobs=1, say=silent)
    assert trained == [0, 1, 1]
    assert path.read_text() == whole


def test_runs_are_told_and_have_one_thread(tmp_path, monkeypatch):
    lines, threads, before = [], [], torch.get_num_threads()

    def train(run):
        threads.append(torch.get_num_threads())
        return outcome(run)._replace(curve=(math.nan,) if run.seed else (0.25,))

    monkeypatch.setattr(results, "train_once", train)
    complete(Results(tmp_path / "runs.csv"), RUNS[:2], jobs=1, say=lines.append)
    assert lines == [
        "1 of 2: digits, none, rate 0.1, seed 0: loss 0.25",
        "2 of 2: digits, none, rate 0.1, seed 1: diverged",
    ]
    assert threads == [1, 1]
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_processes_say_the_same_as_one(tmp_path):
    runs = [replace(RUN, rate=1e-3, epochs=1, seed=seed) for seed in range(2)]
    one, two = (complete(Results(tmp_path / f"{jobs}.csv"), runs, jobs, say=silent) for jobs in (1, 2))
    assert [made._replace(seconds=0) for made in one] == [made._replace(seconds=0) for made in two]


def test_something_else_is_refused(tmp_path):
    path = tmp_path / "runs.csv"
    for text in ("a,b\n1,2\n", "nonsense\nmore\n", "task,norm\ndigits,none\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"runs\.csv was made by something else"):
            Results(path)
    with pytest.raises(ValueError, match="cannot read"):
        Results(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write"):
        Results(tmp_path / "file" / "runs.csv").add([outcome(RUN)])
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        complete(Results(tmp_path / "none.csv"), RUNS, jobs=0)
