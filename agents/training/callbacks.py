"""Work at intervals of a run: logging, evaluation, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from agents.acting.policies import Policy
from agents.training.evaluation import Scores
from agents.training.protocols import Progress
from agents.training.trainer import Callback, Trainer
from wnrl.checkpoints.checkpoints import Checkpoints, NullCheckpoints
from wnrl.checkpoints.tensor_files import CheckpointError
from wnrl.schedules import Every

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


class Evaluation(Callback):
    """Plays whole games at an interval with an environment of its own, and keeps the best model.

    Args:
        play: plays with a policy and returns the scores, or None where it was stopped.
        policy: of the agent, for the evaluation at a step.
        interval: in steps; 0 never evaluates.
        report: called with the step and the metrics.
        keep_best: called with the step and the mean score when that is the best so far.
        message: called with a line of text when no game ended in an evaluation, which then has no score.

    Attributes:
        best: the best mean score so far.
        done: the step of the last evaluation.
    """

    def __init__(
        self,
        play: Callable[[Policy], Scores | None],
        policy: Callable[[int], Policy],
        interval: int,
        *,
        report: Report,
        keep_best: Callable[[int, float], None],
        message: Callable[[str], None],
    ) -> None:
        self._play, self._policy, self._clock = play, policy, Every(interval)
        self._report, self._keep_best, self._message = report, keep_best, message
        self.best = -np.inf
        self.done = 0

    def step(self, trainer: Trainer, before: int) -> None:
        """Evaluate when an interval has passed; an evaluation that was stopped is repeated after a resume."""
        if not self._clock.ticks(self.done, trainer.steps):
            return
        scores = self._play(self._policy(trainer.steps))
        if scores is None:
            return
        self.done = trainer.steps
        if not scores.scores:
            self._message(f"evaluation at step {trainer.steps:,}: no game ended, so there is no score")
            return
        self._report(trainer.steps, {"eval/mean_reward": scores.mean, "eval/mean_ep_length": scores.mean_length})
        if scores.mean > self.best:
            self.best = scores.mean
            self._keep_best(trainer.steps, self.best)
        trainer.evaluated(scores)

    def get_state(self) -> dict[str, Any]:
        """The best mean score so far, and the step of the last evaluation."""
        return {"best": float(self.best), "done": self.done}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `get_state`'s state."""
        self.best, self.done = state["best"], state["done"]


class Checkpointing(Callback):
    """Writes checkpoints at an interval.

    Args:
        checkpoints: where they go.
        interval: in steps; 0 never writes.
        state: what a checkpoint holds.
        message: called with a line of text when a checkpoint could not be written; the run continues, and the earlier
            checkpoints stay.
    """

    def __init__(
        self,
        checkpoints: Checkpoints | NullCheckpoints,
        interval: int,
        state: Callable[[], dict[str, Any]],
        message: Callable[[str], None],
    ) -> None:
        self._checkpoints, self._clock, self._state, self._message = checkpoints, Every(interval), state, message

    def step(self, trainer: Trainer, before: int) -> None:
        """Save when an interval has passed."""
        if not self._clock.ticks(before, trainer.steps):
            return
        try:
            self._checkpoints.save(trainer.steps, self._state())
        except CheckpointError as error:
            self._message(f"no checkpoint at step {trainer.steps:,}: {error}")
