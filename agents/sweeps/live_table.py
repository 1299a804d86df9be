"""The table of a sweep that goes on: redrawn in a terminal, elsewhere a line for each trial that ends."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import IO

from agents.runtime.output_text import readable
from agents.sweeps.trials import Trial

REDRAWN = 1.0
"""Seconds between two drawings."""
OTHERS = 48
"""Columns beside the names, failures included."""
ENDED = ("done", "broke down")
"""States of trials that have come to an end, as they should or because their learning broke down."""


class LiveTable:
    """What the trials of a sweep are doing, a row for each group of trials that differ in their seeds alone.

    Args:
        trials: all of the sweep.
        finished: those that an earlier command has finished.
        broken: those of them whose learning broke down.
        stream: where it is shown.
        clock: seconds.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        finished: Sequence[Trial],
        *,
        broken: Sequence[Trial] = (),
        stream: IO[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._clock = sys.stdout if stream is None else stream, clock
        self._trials = {trial.name: trial for trial in trials}
        self._labels = labels(trials)
        self._steps = {trial.name: 0 for trial in trials} | {trial.name: trial.steps for trial in finished}
        self._state = {trial.name: "waits" for trial in trials} | {trial.name: "done" for trial in finished}
        self._state |= {trial.name: "broke down" for trial in broken}
        self._scores: dict[str, float] = {}
        self._begun, self._before = clock(), sum(self._steps.values())
        self._drawn, self._lines = -math.inf, 0

    def started(self, name: str) -> None:
        """A trial has begun, or goes on."""
        self._state[name] = "runs"
        self._show()

    def progressed(self, name: str, step: int, score: float | None) -> None:
        """A trial has made so many steps."""
        self._state[name], self._steps[name] = "runs", min(step, self._trials[name].steps)
        if score is not None:
            self._scores[name] = score
        self._show()

    def finished(self, name: str) -> None:
        """A trial has ended as it should."""
        made, wanted = self._steps[name], self._trials[name].steps
        self._state[name], self._steps[name] = "done", wanted
        score = f", last return {self._scores[name]:.4g}" if name in self._scores else ""
        end = f"has its {wanted:,} steps" if made == wanted else f"was stopped at step {made:,}"
        self._show(f"{self._count()} {name} {end}{score}")

    def broke_down(self, name: str, step: int) -> None:
        """A trial has ended because its learning broke down."""
        self._state[name], self._steps[name] = "broke down", self._trials[name].steps
        self._show(f"{name} ended at step {step:,}, where its learning broke down")

    def failed(self, name: str, why: str, final: bool) -> None:
        """A trial broke off; `final` where it is not started again."""
        self._state[name] = "failed" if final else "waits"
        self._show(f"{name} {'failed' if final else 'broke off and starts again'}: {why}")

    def close(self) -> None:
        """Draw it for the last time."""
        self._drawn = -math.inf
        self._show()
        self._lines = 0

    def _count(self) -> str:
        done = sum(state in ENDED for state in self._state.values())
        return f"[{done}/{len(self._state)}]"

    def _show(self, line: str | None = None) -> None:
        if not self._stream.isatty():
            if line:
                self._write(line + "\n")
            return
        if line is None and self._clock() - self._drawn < REDRAWN:
            return
        self._drawn = self._clock()
        size = shutil.get_terminal_size()
        rows = [text[: size.columns - 1] for text in self.rows(size.lines - 3, size.columns - 1)]
        above = f"\x1b[{self._lines}F\x1b[J" if self._lines else ""
        said = textwrap.wrap(line, size.columns - 1)[:4] if line and "]" not in line[:12] else []  # not what went well
        self._write(above + "\n".join([*said, *rows]) + "\n")
        self._lines = len(rows)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(readable(text, self._stream))
            self._stream.flush()
        except (OSError, ValueError):
            pass  # a closed terminal ends no sweep

    def rows(self, most: int, columns: int = 200) -> list[str]:
        """The table's lines, at most so many, those that run first, and of so many columns where that is possible."""
        groups: dict[str, list[str]] = {}
        for trial in self._trials.values():
            groups.setdefault(self._labels[trial.group], []).append(trial.name)
        ranked = sorted(groups.items(), key=lambda item: self._rank(item[1]))
        width = max(len("trials"), *(len(group) for group in groups))
        width = min(width, max(16, columns - OTHERS))
        lines = [f"{'trials':{width}}  {'done':>7}  {'runs':>4}  {'steps':>6}  {'return':>9}"]
        for group, names in ranked[: max(1, most - 2)]:
            lines.append(f"{shortened(group, width):{width}}  {self._row(names)}")
        if (hidden := len(groups) - max(1, most - 2)) > 0:
            lines.append(f"… and {hidden} more")
        return [*lines, f"{self._count()} {self._rest()}"]

    def _rank(self, names: Sequence[str]) -> int:
        states = {self._state[name] for name in names}
        return 0 if "runs" in states else 1 if "failed" in states else 2 if "waits" in states else 3

    def _row(self, names: Sequence[str]) -> str:
        states = [self._state[name] for name in names]
        share = sum(self._steps[name] for name in names) / sum(self._trials[name].steps for name in names)
        scores = [self._scores[name] for name in names if name in self._scores]
        wrong = "".join(f"  {states.count(state)} {state}" for state in ("failed", "broke down") if state in states)
        score = f"{fmean(scores):9.4g}" if scores else f"{'':9}"
        done = f"{sum(state in ENDED for state in states)}/{len(names)}"
        return f"{done:>7}  {states.count('runs'):>4}  {share:6.0%}  {score}{wrong}"

    def _rest(self) -> str:
        """How much time is left, by the steps so far."""
        whole, made = sum(trial.steps for trial in self._trials.values()), sum(self._steps.values())
        elapsed = self._clock() - self._begun
        if made <= self._before or elapsed <= 0:
            return f"{made / whole:.0%}"
        left = (whole - made) * elapsed / (made - self._before)
        return f"{made / whole:.0%}, about {duration(left)} left"


def labels(trials: Sequence[Trial]) -> dict[str, str]:
    """What tells the groups of trials apart, by group: agent, task, normalizer and settings, those that differ."""
    parts = {
        trial.group: (trial.agent, trial.task, trial.norm, *(f"{name}={trial.shown(name)}" for name in trial.varied))
        for trial in trials
    }
    differ = [len(set(values)) > 1 for values in zip(*parts.values(), strict=True)]
    return {
        group: " ".join(text for text, kept in zip(texts, differ, strict=True) if kept or not any(differ))
        for group, texts in parts.items()
    }


def shortened(text: str, width: int) -> str:
    """The text, or what of its beginning and its end has room."""
    if len(text) <= width:
        return text
    begin = (width - 1) // 2
    return f"{text[:begin]}…{text[len(text) - (width - 1 - begin) :]}"


def duration(seconds: float) -> str:
    """Seconds in words."""
    minutes = round(seconds / 60)
    if minutes <= 1:
        return "a minute"
    return f"{minutes} minutes" if minutes < 120 else f"{seconds / 3600:.1f} hours"
