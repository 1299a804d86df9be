"""A trial in a process of its own, as a worker of Ray starts and watches it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from wnrl.checkpoints.files import CheckpointError
from wnrl.tracking.csv_table import read_rows

CALL = "from agents.commands.entry import main; raise SystemExit(main())"
PATIENCE = 120.0
"""Seconds for a run that is asked to stop to write its checkpoint."""
SCORES = ("rollout/ep_rew_mean", "eval/mean_reward")
"""Metrics by which a search compares runs, the first that a row has."""


class Progress(NamedTuple):
    """How far a run is."""

    step: int
    score: float | None


class TrialProcess:
    """A running trial: a context at whose end it is asked to stop, and leaves a checkpoint.

    Args:
        arguments: what follows `wnrl`.
        output: file to which what it prints is added.
        threads: of torch and its like.
    """

    def __init__(self, arguments: list[str], output: Path, threads: int) -> None:
        output.parent.mkdir(parents=True, exist_ok=True)
        self._output = output
        root = str(Path(__file__).parents[2])
        paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": str(threads)}
        with open(output, "ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-c", CALL, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=_stop_with_parent if sys.platform == "linux" else None,
            )

    def __enter__(self) -> TrialProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def check(self) -> None:
        """Raise RuntimeError, with what it printed last, where it has ended in any other way than by finishing."""
        if self._process.returncode:
            raise RuntimeError(f"exit code {self._process.returncode}: {last_line(self._output)}")


def _stop_with_parent() -> None:
    """Let the kernel ask this process to stop when the one that started it is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def last_line(path: Path) -> str:
    """The last line of a file that says something."""
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = deque((line.strip() for line in file if line.strip()), maxlen=1)
    return lines[0] if lines else "it printed nothing"


def progress_of(folder: Path) -> Progress | None:
    """How far the run in a folder is; None before its first row of metrics."""
    try:
        rows = read_rows(folder / "progress.csv").rows
    except CheckpointError:
        return None
    if not rows:
        return None
    found = ((tag, row[tag]) for row in reversed(rows) for tag in SCORES if row.get(tag))
    score = next((float(value) for _, value in found), None)
    return Progress(int(rows[-1]["step"]), score)


def train_trial(config: Mapping[str, Any], report: Callable[[Progress], None], *, interval: float = 2.0) -> None:
    """Run a trial to its end.

    Args:
        config: `arguments`, `folder`, `output` and `threads`.
        report: called with each new row of metrics; what it raises stops the run, which leaves a checkpoint.
        interval: seconds between two looks at the run.

    Raises:
        RuntimeError: the run failed.
    """
    folder, last = Path(config["folder"]), -1
    with TrialProcess(config["arguments"], Path(config["output"]), config["threads"]) as process:
        while process.running:
            time.sleep(interval)
            now = progress_of(folder)
            if now is not None and now.step > last:
                last = now.step
                report(now)
        process.check()
