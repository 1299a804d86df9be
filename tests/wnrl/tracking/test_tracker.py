import csv
import math

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from wnrl.tracking.tracker import CsvTable, Means, NullTracker, RunTracker


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def curves(folder):
    """`{tag: [(step, value), …]}` of a folder's event files."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


# The table


def test_a_new_name_widens_the_table(tmp_path):
    table = CsvTable(tmp_path / "p.csv")
    table.append({"step": 1, "a": 0.5})
    table.append({"step": 2, "b/c": -2.0})
    table.append({"step": 3, "a": 1.5, "b/c": 3.0})
    assert rows(tmp_path / "p.csv") == [
        {"step": "1", "a": "0.5", "b/c": ""},
        {"step": "2", "a": "", "b/c": "-2.0"},
        {"step": "3", "a": "1.5", "b/c": "3.0"},
    ]


def test_numbers_come_back_exactly(tmp_path):
    table, value = CsvTable(tmp_path / "p.csv"), 0.1 + 0.2
    table.append({"step": 10**12, "a": value, "b": math.nan})
    (row,) = rows(tmp_path / "p.csv")
    assert (int(row["step"]), float(row["a"])) == (10**12, value)
    assert math.isnan(float(row["b"]))


def test_goes_on_after_the_last_step_that_counts(tmp_path):
    table = CsvTable(tmp_path / "p.csv")
    for step in (10, 20, 30):
        table.append({"step": step, "a": step / 4})
    table = CsvTable(tmp_path / "p.csv", last_step=20)
    table.append({"step": 30, "a": 99})
    assert [(row["step"], row["a"]) for row in rows(tmp_path / "p.csv")] == [("10", "2.5"), ("20", "5.0"), ("30", "99")]


def test_without_a_last_step_the_table_starts_empty(tmp_path):
    CsvTable(tmp_path / "p.csv").append({"step": 1, "a": 1})
    CsvTable(tmp_path / "p.csv")
    assert rows(tmp_path / "p.csv") == []


def test_a_table_that_is_missing_on_resume_starts_empty(tmp_path):
    CsvTable(tmp_path / "p.csv", last_step=5).append({"step": 6, "a": 1})
    assert rows(tmp_path / "p.csv") == [{"step": "6", "a": "1"}]


def test_each_row_is_in_the_file_at_once_and_nothing_else_is_left(tmp_path):
    table = CsvTable(tmp_path / "p.csv")
    table.append({"step": 1, "a": 1})
    assert len(rows(tmp_path / "p.csv")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


# Both


def test_events_and_table_hold_the_same_scalars(tmp_path):
    tracker = RunTracker(tmp_path)
    tracker.write(10, {"train/loss": 0.5, "rollout/ep_rew_mean": 3})
    tracker.write(20, {"train/loss": 0.25})
    assert curves(tmp_path) == {"train/loss": [(10, 0.5), (20, 0.25)], "rollout/ep_rew_mean": [(10, 3.0)]}
    tracker.close()
    assert rows(tmp_path / "progress.csv") == [
        {"step": "10", "train/loss": "0.5", "rollout/ep_rew_mean": "3"},
        {"step": "20", "train/loss": "0.25", "rollout/ep_rew_mean": ""},
    ]


def test_a_resumed_curve_has_no_loop(tmp_path):
    tracker = RunTracker(tmp_path)
    for step in (10, 20, 30):
        tracker.write(step, {"a": 1.0})
    tracker.close()
    tracker = RunTracker(tmp_path, resume_step=20)
    tracker.write(30, {"a": 2.0})
    tracker.close()
    assert curves(tmp_path) == {"a": [(10, 1.0), (20, 1.0), (30, 2.0)]}
    assert [(row["step"], row["a"]) for row in rows(tmp_path / "progress.csv")] == [
        ("10", "1.0"),
        ("20", "1.0"),
        ("30", "2.0"),
    ]


def test_the_null_tracker_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracker = NullTracker()
    tracker.write(1, {"a": 1.0})
    tracker.close()
    assert list(tmp_path.iterdir()) == []


# Means


def figures(a, b):
    return {"a": torch.tensor(a), "b": torch.tensor(b)}


def test_means_since_the_last_reading():
    means = Means()
    assert means.read() == {}
    means.add(figures(1.0, 10))
    means.add(figures(2.0, 30))
    assert means.read() == {"a": 1.5, "b": 20.0}
    assert means.read() == {}
    means.add(figures(7.0, 0))
    assert means.read() == {"a": 7.0, "b": 0.0}


def test_means_keep_no_graph():
    means, loss = Means(), torch.ones((), requires_grad=True)
    means.add({"loss": loss * 2})
    assert not means.get_state()["sums"].requires_grad


def test_means_keep_their_own_numbers():
    means, value = Means(), torch.tensor(1.0)
    means.add({"a": value})
    value.fill_(99)
    assert means.read() == {"a": 1.0}


@pytest.mark.parametrize("before", [0, 1, 2])
def test_means_go_on_from_their_state(before):
    whole, part = Means(), Means()
    for means in (whole, part):
        for index in range(before):
            means.add(figures(float(index), 1.0))
    rest = Means()
    rest.set_state(part.get_state())
    for means in (whole, rest):
        means.add(figures(5.0, 3.0))
    assert rest.read() == whole.read()
