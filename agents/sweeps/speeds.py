"""How long a sweep will take, by short runs of its trials."""

from __future__ import annotations

import heapq
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from agents.sweeps.trial_process import TrialProcess
from agents.sweeps.trials import Trial, setting_names
from wnrl.checkpoints.files import CheckpointError
from wnrl.tracking.csv_table import read_rows

ROWS = 200
"""Steps between two rows of metrics."""
WARM_UP = 1_000
"""Steps before learning starts, where a trial has more."""


def measured_speed(trial: Trial, threads: int, seconds: float) -> float:
    """Steps a second that a trial makes while it learns, without evaluations, alone on the machine.

    Args:
        trial: of which a run is started in a temporary folder, and stopped.
        threads: of torch and its like.
        seconds: of learning.

    Raises:
        ValueError: the run fails.
    """
    own = ["--log-interval", str(ROWS), "--eval-interval", "0", "--steps", str(10**9)]
    names = setting_names(trial.agent)
    own += ["--checkpoint-interval", "0"] if "checkpoint_interval" in names else ["--eval-episodes", "0"]
    own += ["--schedule-steps", str(trial.steps)] if "schedule_steps" in names else []
    own += ["--learning-starts", str(WARM_UP)] if "learning_starts" in names else []
    with tempfile.TemporaryDirectory() as folder:
        run, output = Path(folder) / "run", Path(folder) / "output.txt"
        with TrialProcess([*trial.arguments, "--run-dir", str(run), *own], output, threads) as process:
            begun: tuple[int, float] | None = None
            while process.running:
                time.sleep(0.1)
                step, now = _last_step(run), time.monotonic()
                if begun is None and step >= WARM_UP + ROWS:
                    begun = step, now
                elif begun is not None and now - begun[1] >= seconds and step > begun[0]:
                    return (step - begun[0]) / (now - begun[1])
            try:
                process.check()
            except RuntimeError as error:
                raise ValueError(f"{trial.group} does not run: {error}") from error
    raise ValueError(f"{trial.group} ended before its speed could be measured")


def _last_step(run: Path) -> int:
    try:
        rows = read_rows(run / "progress.csv").rows
    except CheckpointError:
        return 0
    return int(rows[-1]["step"]) if rows else 0


def seconds_of(trials: Sequence[Trial], speeds: dict[str, float], at_once: int) -> float:
    """Seconds that trials take, so many of them at once, each as soon as there is room for it.

    Args:
        trials: to run, in this order.
        speeds: steps a second by group.
        at_once: trials that run beside each other.
    """
    ends = [0.0] * at_once
    for trial in trials:
        heapq.heapreplace(ends, ends[0] + trial.steps / speeds[trial.group])
    return max(ends)
