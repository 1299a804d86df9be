"""A trial in a process of its own, as a worker of Ray starts and watches it."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from agents.training.run_directory import RunDirectory, broke_down, read_config
from wnrl.checkpoints.files import CheckpointError, read_json
from wnrl.tracking.csv_table import read_rows

CALL = "from agents.commands.entry import main; raise SystemExit(main())"
PATIENCE = 120.0
"""Seconds for a run that is asked to stop to write its checkpoint."""
ASKS = signal.SIGUSR1 if hasattr(signal, "SIGUSR1") else signal.SIGTERM
"""What asks a run to stop; unlike a second SIGTERM, a second one does not stop it at once."""
SCORES = ("rollout/ep_rew_mean", "eval/mean_reward")
"""Metrics by which a search compares runs, the first that a row has."""


class Progress(NamedTuple):
    """How far a run is."""

    step: int
    score: float | None
    broke_down: bool = False


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
                start_new_session=True,  # a worker's group gets signals that the run must not get
                preexec_fn=_stop_with_parent if sys.platform == "linux" else None,
            )

    def __enter__(self) -> TrialProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(ASKS)
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
    ctypes.CDLL(None).prctl(1, ASKS)  # PR_SET_PDEATHSIG


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


def end_of(folder: Path, steps: int) -> Progress:
    """What the run of that length in a folder has come to; where learning broke down, to no score."""
    if (step := breakdown_of(folder)) is not None:
        return Progress(step, None, broke_down=True)
    last = progress_of(folder)
    return Progress(steps, None if last is None else last.score)


def breakdown_of(folder: Path) -> int | None:
    """The step at which learning broke down in the run in a folder; None where it has not."""
    try:
        return broke_down(read_config(folder / "config.json"))
    except ValueError:
        return None


def ended(folder: Path, steps: int) -> bool:
    """Whether the run in a folder has made its steps and evaluations and left a model, or its learning broke down."""
    made = model_step(folder) >= steps and not RunDirectory(folder).owes_evaluation
    return made or breakdown_of(folder) is not None


def made_ready(folder: Path, *, resumable: bool, steps: int) -> bool:
    """Make a folder ready for its run to begin or to go on; False where the run has ended.

    Waits for a run there that has been asked to stop, and removes one that broke off and cannot go on.

    Args:
        folder: of the run.
        resumable: whether it goes on from a checkpoint.
        steps: its length.

    Raises:
        ValueError: another process goes on writing there.
    """
    if not folder.exists():
        return True
    directory, end = RunDirectory(folder), time.monotonic() + PATIENCE
    while True:
        try:
            directory.hold()
            break
        except ValueError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
    try:
        if ended(folder, steps):
            return False
        if not resumable or directory.last_step is None:
            shutil.rmtree(folder)
    finally:
        directory.release()
    return True


def model_step(folder: Path) -> int:
    """The step of the model that a run has left; 0 where there is none yet."""
    try:
        about = read_json(folder / "model.json")
    except (ValueError, CheckpointError):
        return 0
    step = about.get("step") if isinstance(about, Mapping) else None
    return step if isinstance(step, int) else 0


def train_trial(config: Mapping[str, Any], report: Callable[[Progress], None], *, interval: float = 2.0) -> None:
    """Run a trial to its end, or until its learning breaks down, which it would do again.

    Args:
        config: `arguments`, `folder`, `output`, `threads`, `resumable` and `steps`.
        report: called with each new row of metrics; what it raises stops the run, which leaves a checkpoint.
        interval: seconds between two looks at the run.

    Raises:
        RuntimeError: the run failed.
    """
    folder, last = Path(config["folder"]), -1
    if not made_ready(folder, resumable=config["resumable"], steps=config["steps"]):
        return
    with TrialProcess(config["arguments"], Path(config["output"]), config["threads"]) as process:
        while process.running:
            time.sleep(interval)
            now = progress_of(folder)
            if now is not None and now.step > last:
                last = now.step
                report(now)
        if breakdown_of(folder) is None:
            process.check()
