"""A display of progress whose failure ends nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agents.training.protocols import Progress, PythonWarnings
from envs import EpisodeStatistics


class SafeProgress:
    """Shows on a display until its terminal, pipe or file is gone or full, and is silent from then on.

    Args:
        display: returns the display of now.
    """

    def __init__(self, display: Callable[[], Progress]) -> None:
        self._display = display
        self._gone: Progress | None = None

    def start(self, step: int, total_steps: int) -> None:
        """Training starts, or continues, at `step`."""
        self._show(lambda display: display.start(step, total_steps))

    def learned(self, step: int) -> None:
        """Gradient steps were made; the run is at `step`."""
        self._show(lambda display: display.learned(step))

    def update(self, step: int, games: EpisodeStatistics) -> None:
        """A vector step was made; the run is at `step`, and `games` has the scores of its last games."""
        self._show(lambda display: display.update(step, games))

    def evaluating(self, games: int, of: int) -> None:
        """Training waits for an evaluation, in which so many games, or steps, of all have been played."""
        if hasattr(self._display(), "evaluating"):
            self._show(lambda display: display.evaluating(games, of))

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show a row of metrics."""
        self._show(lambda display: display.report(step, metrics))

    def message(self, text: str) -> None:
        """Show a line of text."""
        self._show(lambda display: display.message(text))

    def warn(self, text: str) -> None:
        """Show a line of text on what went wrong; without a display it is a warning of Python."""
        self._show(lambda display: display.warn(text) if isinstance(display, PythonWarnings) else display.message(text))

    def close(self) -> None:
        """Training has stopped."""
        self._show(lambda display: display.close())

    def _show(self, call: Callable[[Progress], None]) -> None:
        display = self._display()
        if display is self._gone:
            return
        try:
            call(display)
        except OSError:
            self._gone = display
        except ValueError as error:
            if "closed file" not in str(error):  # as Python says of a stream that was closed
                raise
            self._gone = display
