"""Trackers: where a run writes its scalars, TensorBoard events and a CSV file."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Protocol

from wnrl.tracking.csv_table import CsvTable

if TYPE_CHECKING:
    from torch import Tensor

SCORES = ("eval/mean_reward", "rollout/ep_rew_mean")
"""What the tab HParams shows next to the settings."""
ROOM = 1 << 16
"""Bytes that a folder has to take before a new event file is begun in it."""


class Tracker(Protocol):
    """Records scalars by tag."""

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Record scalars by tag at environment step `step`."""

    def write_late(self, step: int, scalars: Mapping[str, float]) -> None:
        """Record scalars of a step after those of later ones."""

    def text(self, tag: str, text: str) -> None:
        """Record a text by tag, for the whole run."""

    def settings(self, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        """Record the run's settings by name, as JSON holds them; `defaults` are those that it would have by itself."""

    def close(self) -> None:
        """Flush and close."""


class NullTracker:
    """A tracker that records nothing."""

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Do nothing."""

    def write_late(self, step: int, scalars: Mapping[str, float]) -> None:
        """Do nothing."""

    def text(self, tag: str, text: str) -> None:
        """Do nothing."""

    def settings(self, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class RunTracker:
    """A tracker that writes each scalar to TensorBoard events and to `progress.csv`, which has one row a step.

    What cannot be written, as on a full disk, is an OSError of that call alone: later calls go on, the events in a new
    file, since TensorBoard's writer does not recover.

    Args:
        folder: the run directory.
        resume_step: the environment step from which a resumed run continues: what was written for later steps is
            dropped; None starts an empty table.
        message: called with a line of text where lines of a resumed run's table are no rows, and are dropped.
    """

    def __init__(
        self, folder: Path, resume_step: int | None = None, message: Callable[[str], None] | None = None
    ) -> None:
        self._folder = folder
        self._events: Any = _open_events(folder, None if resume_step is None else resume_step + 1)  # None: it failed
        self._table = CsvTable(folder / "progress.csv", resume_step)
        if self._table.dropped and message is not None:
            message(f"{folder / 'progress.csv'}: {self._table.dropped} damaged lines are dropped")

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Record scalars by tag at environment step `step`; of the events and the table neither waits for the other.

        Raises:
            OSError: one of them cannot be written.
        """
        try:
            self._table.append({"step": step, **scalars})
        finally:
            self.write_late(step, scalars)

    def write_late(self, step: int, scalars: Mapping[str, float]) -> None:
        """Record scalars of a step after those of later ones, in TensorBoard's events alone."""
        with self._recording() as events:
            for tag, value in scalars.items():
                events.add_scalar(tag, value, step)
            events.flush()

    def text(self, tag: str, text: str) -> None:
        """Record a text by tag, for the whole run, in TensorBoard's events alone."""
        with self._recording() as events:
            events.add_text(tag, text, 0)

    def settings(self, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        """Record the run's settings in TensorBoard's events: as the text `settings`, and for the tab HParams.

        That tab opens on the first five of them, and has the columns of the first run where agents differ.
        """
        from torch.utils.tensorboard.summary import hparams

        self.text("settings", settings_table(values, defaults))
        numbers = {name: v for name, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        kept = {name: numbers.get(name, str(value)) for name, value in values.items()}
        experiment, session, _ = hparams(kept, dict.fromkeys(SCORES))  # the third would say that the run has ended
        _put_first(experiment, list(kept)[:5])
        with self._recording() as events:
            events.file_writer.add_summary(experiment)
            events.file_writer.add_summary(session)
            events.flush()

    def pictures(self, step: int, pictures: Mapping[str, Tensor]) -> None:
        """Record pictures in TensorBoard's events: with values in [0, 1], `[C, H, W]`, or `[T, C, H, W]` for a film."""
        with self._recording() as events:
            for tag, picture in pictures.items():
                if picture.ndim == 4:
                    events.file_writer.add_summary(film_summary(tag, picture), step)
                else:
                    events.add_image(tag, picture, step)
            events.flush()

    def close(self) -> None:
        """Flush and close; raises OSError where the last events are lost, and no call has said so."""
        if self._events is not None:
            with self._recording() as events:
                events.close()

    @contextmanager
    def _recording(self) -> Iterator[Any]:
        """A context with TensorBoard's writer; one that fails is dropped, and the next context has a new one."""
        if self._events is None:
            self._events = _open_events(self._folder)
        try:
            yield self._events
        except OSError:
            dead, self._events = self._events, None
            with suppress(OSError):
                dead.file_writer.close()
            raise


class Trackers:
    """Several trackers as one. Each gets everything, also where one before it raises OSError; the first one is raised.

    Args:
        trackers: of the run.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Record scalars by tag at environment step `step`."""
        self._each(lambda tracker: tracker.write(step, scalars))

    def write_late(self, step: int, scalars: Mapping[str, float]) -> None:
        """Record scalars of a step after those of later ones."""
        self._each(lambda tracker: tracker.write_late(step, scalars))

    def text(self, tag: str, text: str) -> None:
        """Record a text by tag, for the whole run."""
        self._each(lambda tracker: tracker.text(tag, text))

    def settings(self, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        """Record the run's settings by name."""
        self._each(lambda tracker: tracker.settings(values, defaults))

    def close(self) -> None:
        """Flush and close."""
        self._each(lambda tracker: tracker.close())

    def _each(self, record: Callable[[Tracker], None]) -> None:
        errors = []
        for tracker in self._trackers:
            try:
                record(tracker)
            except OSError as error:
                errors.append(error)
        if errors:
            raise errors[0]


def _open_events(folder: Path, purge_step: int | None = None) -> Any:
    """TensorBoard's writer of a new event file in that folder; raises OSError where it cannot be written.

    Args:
        folder: of the file.
        purge_step: TensorBoard leaves out what earlier files have from this step on.
    """
    from torch.utils.tensorboard import SummaryWriter  # takes half a second: imported only where it is used

    _check_room(folder)
    events = SummaryWriter(str(folder), purge_step=purge_step)
    events.flush()
    return events


def _check_room(folder: Path) -> None:
    """Raise OSError where a folder takes no new file: TensorBoard's writer would leave an empty one and a traceback."""
    with TemporaryFile(dir=folder) as file:
        file.write(bytes(ROOM))
        file.flush()


def film_summary(tag: str, film: Tensor) -> Any:
    """A summary of TensorBoard with a film as an animated GIF, ten pictures a second; the last one stays for a second.

    Args:
        tag: its name.
        film: values in [0, 1], `[T, C, H, W]` with one or three channels.
    """
    from PIL import Image  # which tensorboard needs too
    from tensorboard.compat.proto.summary_pb2 import Summary

    pixels = (film.detach().cpu() * 255).round().clamp(0, 255).byte().movedim(1, -1)  # [T, H, W, C]
    pictures = [Image.fromarray(picture.squeeze(-1).numpy()) for picture in pixels]
    encoded = io.BytesIO()
    durations = [100] * (len(pictures) - 1) + [1000]  # ms
    pictures[0].save(encoded, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    height, width, channels = pixels.shape[1:]
    image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=encoded.getvalue())
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def _put_first(experiment: Any, names: Sequence[str]) -> None:
    """Let the tab HParams show these settings by itself: it puts those first that are said to differ between runs."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # type: ignore[import-untyped]

    kept = experiment.value[0].metadata.plugin_data
    data = HParamsPluginData.FromString(kept.content)
    for info in data.experiment.hparam_infos:
        info.differs = info.name in names
    kept.content = data.SerializeToString()


def settings_table(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Settings as Markdown: those that differ from their defaults, with both, and then all."""
    changed = [name for name, value in values.items() if name not in defaults or defaults[name] != value]
    rows = [f"| {name} | {_cell(values[name])} | {_cell(defaults.get(name))} |" for name in changed]
    every = [f"| {name} | {_cell(value)} |" for name, value in values.items()]
    head = ["| setting | value | default |", "|---|---|---|"]
    return "\n".join([*head, *rows, "", "| all settings | value |", "|---|---|", *every])


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|")
