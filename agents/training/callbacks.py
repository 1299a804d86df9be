"""Work at intervals of a run: logging, checkpoints, remarks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from agents.runtime.distributed import OneProcess, Ranks
from agents.training.protocols import Progress
from agents.training.trainer import Callback, Trainer
from wnrl.checkpoints.tensor_files import CheckpointError
from wnrl.schedules import Every

LONGEST = 600.0
"""Seconds after which a checkpoint is due whatever the interval in steps."""
SHARE = 0.05
"""Of the time, what such checkpoints may take."""
WITHOUT_AN_END = 50_000
"""Steps without a finished game after which an agent that needs one says so."""

Report = Callable[[int, dict[str, float]], None]  # called with the step and metrics by TensorBoard tag


class Shown(Callback):
    """Moves the display of a run's progress.

    Args:
        progress: returns the display.
    """

    def __init__(self, progress: Callable[[], Progress]) -> None:
        self._progress = progress

    def update(self, trainer: Trainer, updates: int) -> None:
        """Let it measure the speed."""
        self._progress().learned(trainer.steps)

    def step(self, trainer: Trainer, before: int) -> None:
        """Move it to the present step."""
        self._progress().update(trainer.steps, trainer.statistics)


class Log(Callback):
    """Reports the run's metrics at an interval.

    `time/fps` is steps per second of wall time since the run was started or resumed, evaluations and checkpoints
    included, as stable-baselines3 counts it; `time/training_fps` is that of training alone, since the previous row.

    Args:
        report: called with the step and the metrics.
        interval: in steps.
        frame_skip: emulator frames per step; 1 where there are none.
    """

    def __init__(self, report: Report, interval: int, frame_skip: int) -> None:
        self._report, self._clock, self._frame_skip = report, Every(interval), frame_skip
        self._last: tuple[int, float] | None = None

    def step(self, trainer: Trainer, before: int) -> None:
        """Report when an interval has passed."""
        if self._last is None:
            self._last = (before, 0.0 if before == 0 else trainer.seconds)
        if self._clock.ticks(before, trainer.steps):
            steps, seconds = trainer.steps - self._last[0], trainer.seconds - self._last[1]
            self._last = (trainer.steps, trainer.seconds)
            self._report(trainer.steps, self._metrics(trainer, steps / max(seconds, 1e-9)))

    def _metrics(self, trainer: Trainer, training_fps: float) -> dict[str, float]:
        elapsed = trainer.wall_seconds
        fps = (trainer.steps - trainer.first_step) / max(elapsed, 1e-9)
        metrics = {
            **trainer.agent.metrics(trainer.steps),
            "time/fps": fps,
            "time/training_fps": training_fps,
            "time/time_elapsed": elapsed,
        }
        if self._frame_skip > 1:
            metrics["time/frames_per_second"] = fps * self._frame_skip
        if trainer.statistics.mean_score == trainer.statistics.mean_score:  # nan before the first episode has ended
            metrics["rollout/ep_rew_mean"] = trainer.statistics.mean_score
            metrics["rollout/ep_len_mean"] = trainer.statistics.mean_length
        return metrics


class Checkpointing(Callback):
    """Writes checkpoints at an interval of steps, and by time where that is longer.

    At a row of metrics, one is written too if the last was `LONGEST` seconds ago or more, unless one is being written,
    or the run would stand still for them for more than `SHARE` of the time; the first process decides.

    Args:
        save: begins to write the checkpoint of a step.
        interval: in steps; 0 never writes.
        rows: steps between two rows of metrics.
        message: called with a line of text when a checkpoint could not be written; the run continues, and the earlier
            checkpoints stay.
        ranks: the processes that share the run.
        writes: whether the last one is being written.
        tell: called at a row of metrics, to say what could not be written.
        clock: seconds.
    """

    def __init__(
        self,
        save: Callable[[int], None],
        interval: int,
        rows: int,
        *,
        message: Callable[[str], None],
        ranks: Ranks | None = None,
        writes: Callable[[], bool] = lambda: False,
        tell: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._save, self._message, self._ranks, self._time = save, message, ranks or OneProcess(), clock
        self._writes, self._tell = writes, tell
        self._clock, self._rows = Every(interval), Every(rows if interval else 0)
        self._last, self._took = clock(), 0.0

    def start(self, trainer: Trainer) -> None:
        """Count time from here."""
        self._last = self._time()

    def step(self, trainer: Trainer, before: int) -> None:
        """Save when an interval has passed, or much time."""
        if row := self._rows.ticks(before, trainer.steps):
            self._tell()
        due = self._clock.ticks(before, trainer.steps)
        if not due and not (row and self._overdue()):
            return
        began = self._time()
        try:
            self._save(trainer.steps)
        except CheckpointError as error:
            self._message(f"no checkpoint at step {trainer.steps:,}: {error}")
        self._last = self._time()
        self._took = self._last - began

    def _overdue(self) -> bool:
        waited = self._time() - self._last
        overdue = waited >= max(LONGEST, self._took * (1 / SHARE - 1)) and not self._writes()
        return self._ranks.sum(int(overdue and not self._ranks.rank)) > 0


class Endless(Callback):
    """Says so where an agent that learns from whole games gets none.

    Args:
        message: called with a line of text, once.
    """

    def __init__(self, message: Callable[[str], None]) -> None:
        self._message = message
        self._clock = Every(WITHOUT_AN_END)

    def step(self, trainer: Trainer, before: int) -> None:
        """Look after many steps."""
        if not self._clock.ticks(before, trainer.steps) or trainer.steps >= 2 * WITHOUT_AN_END:
            return
        if not trainer.agent.learner.num_updates and math.isnan(trainer.statistics.mean_score):
            self._message(
                f"no game has ended in {trainer.steps:,} steps, and nothing was learned yet: this agent learns from "
                "whole games; give the environment a time limit (gymnasium.wrappers.TimeLimit), or take another agent"
            )
