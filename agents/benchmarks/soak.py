"""A long run on a game whose memory, open handles and threads must not grow once its replay buffer is full."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

Stop = Callable[[], bool]
MIB = 2**20
STOPPING = 60  # seconds that the run has to end in


class Sample(NamedTuple):
    """What a process and its children hold."""

    seconds: float
    """Since the process was started."""
    step: int
    """Of the last row of metrics; 0 before the first."""
    memory: float
    """Resident, in MiB."""
    handles: int
    """Open files, sockets and, on Windows, other handles."""
    threads: int


@dataclass(frozen=True)
class Soak:
    """A run of train_dqn.py that is watched: memory, open handles and threads of its process."""

    minutes: float = 60.0
    """Length of the run."""
    game: str = "Breakout"
    """Atari game."""
    norm: str = "weight"
    """Normalizer."""
    num_envs: int = 8
    """Parallel environments."""
    replay_size: int = 20_000
    """Steps that the replay buffer holds; also between two evaluations and between two checkpoints."""
    sample_every: float = 5.0
    """Seconds between two samples."""
    memory_bound: float = 32.0
    """Growth of resident memory that is allowed, in MiB."""
    handle_bound: int = 2
    """Growth of the number of open handles that is allowed."""
    thread_bound: int = 2
    """Growth of the number of threads that is allowed."""
    out: Path = Path("runs/soak")
    """Folder of soak.csv, a row a sample, of the run and of what it printed."""

    def __post_init__(self) -> None:
        for name, least in (("minutes", 0), ("sample_every", 0), ("memory_bound", 0)):
            if not getattr(self, name) > least:
                raise ValueError(f"{name} must be above {least}, got {getattr(self, name)}")
        if self.replay_size < 1_000:
            raise ValueError(f"replay_size must be at least 1000, got {self.replay_size}")

    @property
    def bounds(self) -> dict[str, float]:
        """The growth that is allowed, by field of a sample."""
        return {"memory": self.memory_bound, "handles": self.handle_bound, "threads": self.thread_bound}

    @property
    def command(self) -> list[str]:
        """The run that is watched."""
        size = self.replay_size
        return [
            *[sys.executable, "-m", "wnrl", "train", "dqn", "--game", self.game, "--norm", self.norm],
            *["--num-envs", str(self.num_envs), "--steps", "1G", "--run-dir", str(self.out / "run")],
            *["--replay-size", str(size), "--learning-starts", str(size // 10), "--log-interval", str(size // 20)],
            *["--eval-interval", str(size), "--eval-steps", str(size // 20), "--checkpoint-interval", str(size)],
        ]

    def samples(self, stop: Stop = lambda: False) -> list[Sample]:
        """Run it, and return the samples from the second evaluation and checkpoint with a full replay buffer on.

        Args:
            stop: whether to end before the time is up, with the samples so far.

        Raises:
            ValueError: the folder is in use, the run ended by itself, or there are too few samples.
        """
        if self.out.exists() and any(self.out.iterdir()):
            raise ValueError(f"{self.out} is not empty: give another --out")
        self.out.mkdir(parents=True, exist_ok=True)
        watched = watch(self.command, self.out, self.sample_every, 60 * self.minutes, stop)
        steady = [sample for sample in written(watched, self.out / "soak.csv") if sample.step >= 2 * self.replay_size]
        if len(steady) < 6:
            raise ValueError(
                f"too short: {len(steady)} samples after step {2 * self.replay_size:,}: give more --minutes, or a "
                "smaller --replay-size"
            )
        return steady


def watch(
    command: Sequence[str], folder: Path, interval: float, seconds: float, stop: Stop = lambda: False
) -> Iterator[Sample]:
    """Start a training run, sample its process for so many seconds, or until `stop` says so, and stop it.

    Args:
        command: the run, whose folder is `run` in `folder`.
        folder: where `output.txt`, what it prints, is written.
        interval: seconds between two samples.
        seconds: length of the run.
        stop: asked every second at least.

    Raises:
        ValueError: the run ended by itself.
    """
    with (folder / "output.txt").open("wb") as output, running(command, output) as process:
        start = time.monotonic()
        while (elapsed := time.monotonic() - start) < seconds and not stop():
            try:
                sample = Sample(round(elapsed, 1), last_step(folder / "run" / "progress.csv"), *held(process.pid))
            except psutil.NoSuchProcess:
                process.wait()
            if process.poll() is not None:
                if stop():
                    return  # the signal was the run's too
                said = (folder / "output.txt").read_text(errors="replace").strip().splitlines()[-1:]
                raise ValueError(f"the run ended with exit code {process.returncode}: {' '.join(said)}")
            yield sample
            _wait(interval, stop)


def _wait(seconds: float, stop: Stop) -> None:
    """Sleep, not longer than a second after `stop`."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not stop():
        time.sleep(min(left, 1.0))


@contextmanager
def running(command: Sequence[str], output: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is asked to end, and after a minute made to."""
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def held(pid: int) -> tuple[float, int, int]:
    """Resident memory in MiB, open handles and threads of a process and of its children.

    Raises:
        psutil.NoSuchProcess: it has ended.
    """
    own = psutil.Process(pid)
    memory, handles, threads = 0.0, 0, 0
    for process in (own, *own.children(recursive=True)):
        try:
            memory += process.memory_info().rss / MIB
            handles += process.num_handles() if os.name == "nt" else process.num_fds()
            threads += process.num_threads()
        except psutil.NoSuchProcess:
            if process is own:
                raise
    return round(memory, 2), handles, threads


def last_step(progress: Path) -> int:
    """The step of the last whole row of a `progress.csv`; 0 where there is none."""
    try:
        lines = progress.read_bytes().split(b"\n")[1:-1]
    except FileNotFoundError:
        return 0
    return int(lines[-1].split(b",")[0]) if lines else 0


def written(samples: Iterator[Sample], path: Path) -> Iterator[Sample]:
    """The samples, each written to a CSV file at once."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Sample._fields)
        for sample in samples:
            writer.writerow(sample)
            file.flush()
            yield sample


def growth(samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    """Medians of the first and of the last third of the samples, by field.

    A median is deaf to what lasts a moment, such as the file of a checkpoint that is open while it is written.
    """
    third = len(samples) // 3
    parts = samples[:third], samples[-third:]
    return {
        name: (median(getattr(s, name) for s in parts[0]), median(getattr(s, name) for s in parts[1]))
        for name in ("memory", "handles", "threads")
    }


def complaint(samples: Sequence[Sample], bounds: dict[str, float]) -> str | None:
    """What has grown by more than its bound, in one line; None where nothing has."""
    minutes = (samples[-1].seconds - samples[0].seconds) / 60
    grown = [
        f"{name} from {first:g} to {last:g} (bound: {bounds[name]:g} more)"
        for name, (first, last) in growth(samples).items()
        if last - first > bounds[name]
    ]
    return f"grew in {minutes:.0f} minutes with a full replay buffer: {', '.join(grown)}" if grown else None


def summary(samples: Sequence[Sample]) -> str:
    """The growth of everything, in one line."""
    (memory, handles, threads), minutes = growth(samples).values(), (samples[-1].seconds - samples[0].seconds) / 60
    return (
        f"{minutes:.0f} minutes with a full replay buffer, steps {samples[0].step:,} to {samples[-1].step:,}: memory "
        f"{memory[0]:.1f} to {memory[1]:.1f} MiB, handles {handles[0]:g} to {handles[1]:g}, threads {threads[0]:g} to "
        f"{threads[1]:g}"
    )
