"""Progress of a run: a bar in a terminal or a notebook, or plain lines where there is neither."""

from __future__ import annotations

import math
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, NamedTuple

from tqdm.auto import tqdm

from agents.runtime.output_text import readable
from envs import EpisodeStatistics

MEMORY = 600.0
"""Seconds over which the speed is averaged."""
MEASURED = 10.0
"""Seconds of learning after which the speed is taken as known."""
REDRAWN = 0.1
"""Seconds between two drawings of the bar."""

Clock = Callable[[], float]


class _Bar(tqdm):
    monitor_interval = 0  # no thread: `TerminalProgress` redraws it


class Speed:
    """Steps per second of a run that learns: an average of the last minutes, evaluations and checkpoints included.

    What comes before the first gradient step, random play or the first rollout, is not in it; nor is a part of a
    rollout, whose steps are faster than those of a rollout with its gradient steps.

    Args:
        clock: seconds.

    Attributes:
        seconds: how much time the average is of.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._last: tuple[int, float] | None = None
        self._steps = self.seconds = 0.0

    def learned(self, step: int) -> None:
        """Gradient steps were made, and the run is at `step`."""
        now = self._clock()
        if self._last is not None:
            steps, seconds = step - self._last[0], now - self._last[1]
            kept = math.exp(-seconds / MEMORY)
            self._steps, self.seconds = kept * self._steps + steps, kept * self.seconds + seconds
        self._last = step, now

    @property
    def rate(self) -> float:
        """Steps per second; 0 where nothing was measured yet."""
        return self._steps / self.seconds if self._steps and self.seconds else 0.0


class TerminalProgress:
    """Shows how far a run is, its speed while learning, the time left, and the mean return of its last 100 games.

    Args:
        bar: draw a bar instead of a line per row of metrics; by default in a notebook, and where stderr is a terminal.
        clock: seconds.
    """

    def __init__(self, bar: bool | None = None, clock: Clock = time.monotonic) -> None:
        self._notebook = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
        self._shown = (self._notebook or sys.stderr.isatty()) if bar is None else bar
        self._clock, self._speed = clock, Speed(clock)
        self._bar = _Bar(disable=True)
        self._step = self._total = 0
        self._began = self._drawn = 0.0
        self._announced = False
        self._score, self._row = math.nan, dict[str, float]()
        self._evaluation = ""

    def start(self, step: int, total_steps: int) -> None:
        """Show the bar at `step`; it is full where the run is already longer."""
        self._step, self._total, self._speed = step, max(step, total_steps), Speed(self._clock)
        self._began, self._announced = self._clock(), False
        text, columns = self._text()
        form = "{percentage:3.0f}%|{bar}| {desc}"
        shown: dict[str, Any] = {"desc": text, "ncols": columns, "dynamic_ncols": self._notebook, "bar_format": form}
        self._bar = _Bar(total=self._total, initial=step, disable=not self._shown, **shown)

    def learned(self, step: int) -> None:
        """Measure the speed."""
        self._speed.learned(step)
        self._step = step
        if not self._announced and self._speed.seconds > MEASURED:
            self._announced = True
            self._announce()

    def update(self, step: int, games: EpisodeStatistics) -> None:
        """Move the bar."""
        self._step, self._evaluation = step, ""
        if self._shown and self._clock() - self._drawn > REDRAWN:
            self._score = games.mean_score
            self._draw()

    def evaluating(self, games: int, of: int) -> None:
        """Show instead of the time left how far the evaluation is."""
        self._evaluation = f"evaluating {short(games)}/{short(of)}"
        if self._shown and self._clock() - self._drawn > REDRAWN:
            self._draw()

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show a row of metrics: next to the bar, or as a line."""
        if "eval/mean_reward" in metrics:  # which may be of an earlier step
            score, length = metrics["eval/mean_reward"], metrics["eval/mean_ep_length"]
            self.message(f"step {step:,}: evaluation return {score:.1f}, length {length:,.0f}")
            return
        self._step = step
        self._row, self._score = dict(metrics), metrics.get("rollout/ep_rew_mean", self._score)
        if not self._shown:
            texts = [figure.text for figure in self._figures()[1:]]
            self.message(f"step {step:,} of {self._total:,}: {', '.join(texts)}")

    def message(self, text: str) -> None:
        """Print a line without damaging the bar; in a narrow terminal, several."""
        if self._shown and sys.stdout.isatty():
            wrapped = textwrap.TextWrapper(columns_of(sys.stdout), subsequent_indent="  ", break_on_hyphens=False)
            wrapped.break_long_words = False  # of a path
            text = wrapped.fill(text)
        tqdm.write(readable(text, sys.stdout), file=sys.stdout)
        sys.stdout.flush()

    def close(self) -> None:
        """Stop drawing; the bar stays on the screen."""
        self._evaluation = ""
        if self._shown and self._total:
            self._draw()
        self._bar.close()

    def _draw(self) -> None:
        self._drawn = self._clock()
        text, columns = self._text()
        if not self._notebook:
            self._bar.ncols = columns
        self._bar.n = min(self._step, self._total)
        self._bar.set_description_str(text)

    def _text(self) -> tuple[str, int | None]:
        """What is next to the bar, and how wide both are together; in a notebook as wide as it needs."""
        columns = None if self._notebook else columns_of(sys.stderr) - 1  # the cursor stays in the line
        return fitting(self._figures(), columns), columns

    def _figures(self) -> list[Figure]:
        rate, row = self._speed.rate, self._row
        made = min(self._step, self._total)  # the last row, of all environments, may go beyond the length
        figures = [Figure(3, f"{short(made)}/{short(self._total)} steps")]
        if self._evaluation:
            figures.append(Figure(0, self._evaluation))
        elif self._step >= self._total:
            figures.append(Figure(0, f"took {tqdm.format_interval(self._clock() - self._began)}"))
        elif rate:
            figures.append(Figure(2, f"{rate:,.0f} steps/s"))
            seconds = (self._total - self._step) / rate
            left = tqdm.format_interval(seconds) if seconds < 100 * 3_600 else duration(seconds)
            figures.append(Figure(0, f"{left} left"))
        else:
            figures.append(Figure(0, "warm-up"))
        if not math.isnan(self._score):
            figures.append(Figure(1, f"return {self._score:.1f}"))
        if "rollout/exploration_rate" in row:
            figures.append(Figure(4, f"epsilon {row['rollout/exploration_rate']:.2f}"))
        if "train/loss" in row:
            figures.append(Figure(5, f"loss {row['train/loss']:.4f}"))
        return figures

    def _announce(self) -> None:
        left = self._total - self._step
        seconds = left / self._speed.rate
        if seconds > 60:
            some = f", {100_000:,} of them {duration(100_000 / self._speed.rate)}" if left > 200_000 else ""
            self.message(f"at {self._speed.rate:,.0f} steps/s the {left:,} steps to go take {duration(seconds)}{some}")


class Figure(NamedTuple):
    """A part of the text next to the bar."""

    rank: int  # 0 for the last one to leave out
    text: str


def fitting(figures: Sequence[Figure], columns: int | None) -> str:
    """As many figures as fit next to a bar, by rank, in the order in which they are given.

    Args:
        figures: of the run.
        columns: of the terminal; None: it has no end.
    """
    width = math.inf if columns is None else columns - len("100%|| ") - (12 if columns > 60 else 3)
    shown: list[Figure] = []
    for figure in sorted(figures):
        if len(", ".join(part.text for part in [*shown, figure])) <= width:
            shown.append(figure)
    return ", ".join(figure.text for figure in figures if figure in shown)


def columns_of(stream: IO[str]) -> int:
    """How many characters a line of a terminal has; for anything else as the environment says, or 80."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return columns or shutil.get_terminal_size().columns


def short(number: int) -> str:
    """A number of steps in at most five characters: 950, 9500, 12.3k, 123k, 1.23M."""
    return f"{number}" if number < 10_000 else tqdm.format_sizeof(number)


def duration(seconds: float) -> str:
    """A length of time in words, rounded: 50 s, 18 min, 2.5 h, 3.1 days."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            number = seconds / length
            return f"{number:.1f} {unit}" if number < 10 and unit != "min" else f"{number:.0f} {unit}"
    return f"{seconds:.0f} s"
