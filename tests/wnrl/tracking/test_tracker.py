import csv

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from wnrl.tracking.tracker import NullTracker, RunTracker


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def curves(folder):
    """`{tag: [(step, value), …]}` of a folder's event files."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


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


def test_a_text_is_in_the_events(tmp_path):
    tracker = RunTracker(tmp_path)
    tracker.text("conditions", "no sticky actions")
    tracker.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    (event,) = events.Tensors("conditions/text_summary")
    assert event.tensor_proto.string_val == [b"no sticky actions"]
    assert rows(tmp_path / "progress.csv") == []


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
    tracker.text("a", "b")
    tracker.close()
    assert list(tmp_path.iterdir()) == []
