"""agents.reports.event_files"""

import numpy as np
import pytest

from agents.reports.event_files import read_events
from tests.agents.reports.hand_made import write_events

SCALARS = [("a", 1, 10.0), ("b", 1, 5.0), ("a", 2, 20.0), ("a", 3, 30.0)]


def values(events):
    return {tag: [value for _, value in pairs] for tag, pairs in events.scalars.items()}


def test_scalars_texts_and_clock(tmp_path):
    notes = []
    events = read_events([write_events(tmp_path / "e", SCALARS, {"seed": 4})], notes)
    assert notes == []
    assert events.scalars == {"a": [(1, 10), (2, 20), (3, 30)], "b": [(1, 5)]}
    assert events.texts == {"hyperparameters/text_summary": "|param|value|\n|-|-|\n|seed|4|\n"}
    assert (events.clock.steps.tolist(), events.clock.values.tolist()) == ([1, 2, 3], [1, 2, 3])


def test_all_values_of_a_step_are_there(tmp_path):
    path = write_events(tmp_path / "e", [("a", step, value) for step in (1, 2) for value in (3.0, 1.0)])
    assert read_events([path], []).scalars == {"a": [(1, 3), (1, 1), (2, 3), (2, 1)]}


def test_torchs_writer_is_read(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("a", 1.5, 10)
        writer.add_scalar("b", 2.5, 10, new_style=True)
        writer.add_text("hyperparameters", "|param|value|\n|-|-|\n|lr|0.1|")
        writer.add_histogram("h", np.array([1.0, 2.0]), 10)
    events = read_events(sorted(tmp_path.iterdir()), [])
    assert values(events) == {"a": [1.5], "b": [2.5]}
    assert events.texts["hyperparameters/text_summary"].endswith("|lr|0.1|")


@pytest.mark.parametrize("lost", [1, 3, 4, 10, 25])
def test_of_a_truncated_file_the_readable_part_is_used_and_noted(tmp_path, lost):
    path = write_events(tmp_path / "e", SCALARS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-lost])
    notes = []
    events = read_events([path], notes)
    assert values(events)["a"] == [10, 20]
    record = len(whole) - len(write_events(tmp_path / "less", SCALARS[:-1]).read_bytes())
    assert notes == [
        f"{path} is truncated or damaged: 4 events in {len(whole) - record:,} of {len(whole) - lost:,} bytes are used"
    ]


def test_damage_in_the_middle_ends_what_is_used(tmp_path):
    path = write_events(tmp_path / "e", SCALARS)
    data = bytearray(path.read_bytes())
    record = len(write_events(tmp_path / "less", SCALARS[:1]).read_bytes())
    data[record + 14] ^= 255
    path.write_bytes(data)
    notes = []
    assert [*read_events([path], notes).scalars] == ["a"]
    assert len(notes) == 1
    path.write_bytes(b"no events at all, but a text of some length")
    assert read_events([path], notes).scalars == {}
    assert notes[1].endswith("0 events in 0 of 43 bytes are used")


@pytest.mark.parametrize("dtype", ["DT_FLOAT", "DT_STRING", "DT_RESOURCE"])
def test_a_scalar_without_a_number_is_left_out(tmp_path, dtype):
    from tensorboard.compat.proto import types_pb2
    from tensorboard.compat.proto.summary_pb2 import Summary

    value = Summary.Value(tag="empty")
    value.metadata.plugin_data.plugin_name = "scalars"
    value.tensor.dtype = types_pb2.DataType.Value(dtype)
    value.tensor.tensor_shape.dim.add(size=0)
    path = write_events(tmp_path / "e", [("a", 1, 1.0), value, ("a", 2, 2.0)])
    assert read_events([path], []).scalars == {"a": [(1, 1), (2, 2)]}


def test_a_file_that_cannot_be_opened(tmp_path):
    (tmp_path / "e").symlink_to("nowhere")
    with pytest.raises(ValueError, match=r"there is no file .*/e: check the path"):
        read_events([tmp_path / "e"], [])


def test_an_empty_file_is_no_damage(tmp_path):
    (tmp_path / "e").touch()
    notes = []
    assert (read_events([tmp_path / "e"], notes).scalars, notes) == ({}, [])


def test_a_resumed_run_holds_from_where_it_was_resumed(tmp_path):
    first = write_events(tmp_path / "1", [("a", step, 1.0) for step in (1, 2, 3, 4)], start=0)
    second = write_events(tmp_path / "2", [("a", step, 2.0) for step in (3, 5)], start=9999)
    events = read_events([first, second], [])
    assert events.scalars["a"] == [(1, 1), (2, 1), (3, 2), (5, 2)]
    assert events.clock.values[-1] == 4  # 3 s, then 1 s, not the time between


def test_the_clock_of_a_resumed_run_has_no_step_of_before_that_is_made_again(tmp_path):
    first = [("a", step, 1.0) for step in (100, 200, 300, 400)]
    paths = [write_events(tmp_path / "1", first), write_events(tmp_path / "2", [("a", 150, 2.0), ("a", 250, 2.0)])]
    clock = read_events(paths, []).clock
    assert (clock.steps.tolist(), clock.values.tolist()) == ([100, 150, 250], [0, 3, 4])
