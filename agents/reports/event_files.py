"""TensorBoard's event files, as torch's `SummaryWriter` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from agents.reports.run import Points
from wnrl.checkpoints.files import open_file

PATTERN = "events.out.tfevents.*"
_FRAME = 16  # bytes around a record: its length and two checksums


class Events(NamedTuple):
    """What the event files of a folder hold."""

    scalars: dict[str, list[tuple[float, float]]]
    """By tag (step, value) each, as they were written: those of games that ended at one step all have it."""
    texts: dict[str, str]
    """The last one by tag."""
    clock: Points
    """Seconds since the first event, without the time between two files."""


def read_events(paths: Sequence[Path], notes: list[str]) -> Events:
    """The events of a run.

    Where a file begins at an earlier step than the one before it ended, as after a resume, its values hold from there.

    Args:
        paths: in the order in which they were written.
        notes: gets a line on each file that is damaged or truncated, whose events up to there are used.

    Raises:
        ValueError: a file cannot be opened.
    """
    scalars: dict[str, list[tuple[float, float]]] = {}
    texts: dict[str, str] = {}
    clock: list[tuple[float, float]] = []
    for path in paths:
        begun: set[str] = set()
        first, offset = None, clock[-1][1] if clock else 0.0
        for event in _events(path, notes):
            for value in event.summary.value:
                number = _number(value)
                if number is not None:
                    points = scalars.setdefault(value.tag, [])
                    if value.tag not in begun:
                        begun.add(value.tag)
                        points[:] = [point for point in points if point[0] < event.step]
                    points.append((float(event.step), number))
                    if first is None:
                        first = event.wall_time
                        clock = [point for point in clock if point[0] < event.step]
                    clock.append((float(event.step), offset + max(event.wall_time - first, 0.0)))
                elif value.WhichOneof("value") == "tensor" and value.tensor.string_val:
                    texts[value.tag] = value.tensor.string_val[0].decode("utf-8", "replace")
    return Events(scalars, texts, Points.of(clock))


def _events(path: Path, notes: list[str]) -> list[Any]:
    from google.protobuf.message import DecodeError  # all of these come with tensorboard
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    open_file(path).close()  # says what is wrong in one line
    events, good = [], 0
    try:
        for record in RawEventFileLoader(str(path)).Load():  # ends at the first damaged record
            events.append(Event.FromString(record))
            good += len(record) + _FRAME
    except (DecodeError, OverflowError, MemoryError):
        pass  # a record that is no event: noted as what follows the last good one
    size = path.stat().st_size
    if good < size:
        notes.append(f"{path} is truncated or damaged: {len(events)} events in {good:,} of {size:,} bytes are used")
    return events


def _number(value: Any) -> float | None:
    """The value of a scalar; None where it is something else."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind == "tensor" and value.metadata.plugin_data.plugin_name == "scalars":
        from tensorboard.util.tensor_util import make_ndarray

        with suppress(LookupError, TypeError, ValueError):  # it is empty, or of no numbers
            return float(make_ndarray(value.tensor).reshape(-1)[0])
    return None
