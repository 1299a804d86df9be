import csv
import io
from contextlib import suppress

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import parse_experiment_plugin_data, parse_session_start_info_plugin_data
from tensorboard.summary.writer.record_writer import RecordWriter

from wnrl.tracking import tracker as module
from wnrl.tracking.tracker import NullTracker, RunTracker, Trackers, settings_table


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


SETTINGS = {"game": "Breakout", "gamma": 0.99, "seed": 3, "double": True, "hidden": [64, 64], "resume": None}


def test_settings_are_a_text_that_shows_the_changed_ones_first(tmp_path):
    tracker = RunTracker(tmp_path)
    tracker.settings(SETTINGS, {**SETTINGS, "gamma": 0.9, "game": None})
    tracker.close()
    (event,) = EventAccumulator(str(tmp_path)).Reload().Tensors("settings/text_summary")
    (text,) = event.tensor_proto.string_val
    assert text.decode().splitlines() == [
        "| setting | value | default |",
        "|---|---|---|",
        "| game | Breakout | None |",
        "| gamma | 0.99 | 0.9 |",
        "",
        "| all settings | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in SETTINGS.items()),
    ]


def test_a_table_takes_any_text():
    assert "| a | x\\|y |" in settings_table({"a": "x|y"}, {})


def session(folder):
    """What the tab HParams knows of a run, from the run's own event file."""
    content = EventAccumulator(str(folder)).Reload().SummaryMetadata("_hparams_/session_start_info")
    return parse_session_start_info_plugin_data(content.plugin_data.content)


def test_settings_are_in_the_tab_hparams_of_the_same_run(tmp_path):
    tracker = RunTracker(tmp_path)
    tracker.settings(SETTINGS, SETTINGS)
    tracker.write(10, {"eval/mean_reward": 3.0})
    tracker.close()
    hparams = session(tmp_path).hparams
    assert hparams["game"].string_value == "Breakout"
    assert (hparams["gamma"].number_value, hparams["seed"].number_value) == (0.99, 3)
    assert hparams["double"].string_value == "True"
    assert (hparams["hidden"].string_value, hparams["resume"].string_value) == ("[64, 64]", "None")
    content = EventAccumulator(str(tmp_path)).Reload().SummaryMetadata("_hparams_/experiment")
    experiment = parse_experiment_plugin_data(content.plugin_data.content)
    assert [info.name for info in experiment.hparam_infos] == list(SETTINGS)
    assert [info.differs for info in experiment.hparam_infos] == [True] * 5 + [False]  # the tab opens on these
    assert [info.name.tag for info in experiment.metric_infos] == ["eval/mean_reward", "rollout/ep_rew_mean"]
    assert curves(tmp_path) == {"eval/mean_reward": [(10, 3.0)]}
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []  # no run of its own beside it


def test_several_trackers_get_the_same():
    class Notes:
        def __init__(self):
            self.notes = []

        def __getattr__(self, name):
            return lambda *arguments: self.notes.append((name, *arguments))

    notes = Notes(), Notes()
    trackers = Trackers(notes)
    trackers.write(1, {"a": 2.0})
    trackers.text("b", "c")
    trackers.settings({"d": 1}, {})
    trackers.close()
    expected = [("write", 1, {"a": 2.0}), ("text", "b", "c"), ("settings", {"d": 1}, {}), ("close",)]
    assert [each.notes for each in notes] == [expected, expected]


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
    tracker.settings({"a": 1}, {})
    tracker.close()
    assert list(tmp_path.iterdir()) == []


def test_damaged_lines_of_a_resumed_table_are_counted_in_a_line_of_text(tmp_path):
    RunTracker(tmp_path).write(10, {"train/loss": 0.5})
    with (tmp_path / "progress.csv").open("ab") as file:
        file.write(b"\0\0\0\r\n20,")
    said = []
    RunTracker(tmp_path, 10, said.append).close()
    assert said == [f"{tmp_path / 'progress.csv'}: 2 damaged lines are dropped"]
    RunTracker(tmp_path, 10, said.append).close()
    assert len(said) == 1
    assert [row["step"] for row in rows(tmp_path / "progress.csv")] == ["10"]


def test_pictures_and_films_are_recorded(tmp_path):
    film = torch.tensor([0.0, 1.0, 0.0])[:, None, None, None].expand(3, 1, 4, 6)
    tracker = RunTracker(tmp_path)
    tracker.pictures(7, {"still": film[1], "film": film})
    tracker.close()
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    (still,), (moving,) = events.Images("still"), events.Images("film")
    assert (still.step, moving.step) == (7, 7)
    assert (moving.height, moving.width) == (4, 6)
    with Image.open(io.BytesIO(moving.encoded_image_string)) as gif:
        assert (gif.format, gif.n_frames) == ("GIF", 3)
        values, durations = [], []
        for frame in range(3):
            gif.seek(frame)
            durations.append(gif.info["duration"])
            values.append(gif.convert("L").getextrema())
    assert values == [(0, 0), (255, 255), (0, 0)]
    assert durations == [100, 100, 1000]


def no_space(*_, **__):
    raise OSError(28, "No space left on device")


kills_the_writer = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def refused(call, *arguments):
    with pytest.raises(OSError, match="No space left on device"):
        call(*arguments)


@kills_the_writer
def test_after_a_full_disk_events_and_table_go_on(tmp_path, monkeypatch):
    tracker = RunTracker(tmp_path)
    tracker.write(10, {"a": 1.0})
    with monkeypatch.context() as full:
        full.setattr(RecordWriter, "write", no_space)
        refused(tracker.write, 20, {"a": 2.0})
        refused(tracker.write_late, 15, {"b": 2.0})
    for step in (30, 40):
        tracker.write(step, {"a": 3.0})
    tracker.close()
    assert curves(tmp_path) == {"a": [(10, 1.0), (30, 3.0), (40, 3.0)]}
    assert [row["step"] for row in rows(tmp_path / "progress.csv")] == ["10", "20", "30", "40"]


def test_events_do_not_wait_for_a_table_that_cannot_be_written(tmp_path, monkeypatch):
    tracker = RunTracker(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(module.CsvTable, "append", no_space)
        refused(tracker.write, 10, {"a": 1.0})
    tracker.write(20, {"a": 2.0})
    tracker.close()
    assert curves(tmp_path) == {"a": [(10, 1.0), (20, 2.0)]}
    assert len([*tmp_path.glob("events*")]) == 1


@kills_the_writer
def test_no_new_event_file_is_begun_while_the_disk_is_full(tmp_path, monkeypatch):
    tracker = RunTracker(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(RecordWriter, "write", no_space)
        full.setattr(module, "TemporaryFile", no_space)
        for step in (10, 20, 30):
            refused(tracker.write, step, {"a": 1.0})
    assert len([*tmp_path.glob("events*")]) == 1
    tracker.text("b", "c")
    tracker.close()
    assert len([*tmp_path.glob("events*")]) == 2


@kills_the_writer
@pytest.mark.parametrize("reported", [True, False])
def test_a_tracker_closes_after_a_full_disk(tmp_path, monkeypatch, reported):
    tracker = RunTracker(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(RecordWriter, "write", no_space)
        if reported:
            refused(tracker.write, 10, {"a": 1.0})
        else:
            with suppress(OSError):
                tracker._events.add_text("a", "b", 0)  # whose failure the tracker does not know of
            refused(tracker.close)
        tracker.close()


def test_a_tracker_that_fails_keeps_nothing_from_the_others():
    notes = []

    class Full(NullTracker):
        write = write_late = text = settings = close = no_space

    class Notes(NullTracker):
        def write(self, step, scalars):
            notes.append(step)

        def close(self):
            notes.append("closed")

    trackers = Trackers([Full(), Notes()])
    refused(trackers.write, 10, {"a": 1.0})
    refused(trackers.close)
    assert notes == [10, "closed"]
