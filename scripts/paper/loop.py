"""The training loop of the paper's experiments: one run, with metrics by epoch, checkpoints and exact resumption."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from paper.experiment import Experiment, PaperSettings
from torch import Tensor
from tqdm.auto import tqdm

from agents.runtime.seeds import Purpose, integer
from agents.runtime.signals import StopSignal
from agents.settings.flat import to_json
from agents.training.progress import duration
from agents.training.run_directory import RunDirectory
from wnrl.checkpoints.checkpoints import Checkpoints
from wnrl.checkpoints.files import CheckpointError
from wnrl.tracking.means import Means
from wnrl.tracking.tracker import RunTracker

CHECKPOINT_SECONDS = 60.0  # between two checkpoints, at least; one is also written at a stop and at the end
LINE_SECONDS = 60.0  # between two lines of text where no bar is drawn
FREE = ("data_dir", "norms", "seeds", "jobs", "out")
"""Settings that may change between the start of a run and its resumption."""


class Stopped(KeyboardInterrupt):
    """A signal has stopped a run, which has written a checkpoint; its argument is the exit code."""


@dataclass(frozen=True)
class PaperRun:
    """One run of an experiment."""

    settings: PaperSettings
    norm: str
    seed: int

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.settings.out / f"{self.norm}-s{self.seed}"

    def __str__(self) -> str:
        return f"{self.norm}, seed {self.seed}"


def train(run: PaperRun) -> PaperRun:
    """Train a run to its last epoch, or from its last checkpoint on; one that has ended is left as it is.

    The metrics of each epoch go to TensorBoard and `progress.csv`, whose `step` is the number of epochs. A run whose
    loss is not finite ends with that epoch.

    Raises:
        ValueError: its folder holds a run with other settings, or cannot be written.
        Stopped: after a signal; the same call goes on.
    """
    directory, resumed = _open_folder(run)
    try:
        checkpoints = Checkpoints(directory.checkpoints)
        state = checkpoints.latest()[1] if resumed else None
        if state is not None and state["ended"]:
            return run
        epoch = None if state is None else state["epoch"]
        with StopSignal() as stopped, torch.random.fork_rng(), closing(RunTracker(run.folder, epoch)) as tracker:
            loop = Loop(prepared(run.settings), run, state)
            loop.run(tracker, lambda: bool(checkpoints.save(loop.updates, loop.get_state())), stopped)
            if not loop.ended:
                raise Stopped(stopped.exit_code)
    finally:
        directory.release()
    return run


def has_ended(run: PaperRun) -> bool:
    """Whether a run has had its last epoch: `train` leaves it as it is, and needs no data."""
    try:
        return bool(Checkpoints(run.folder / "checkpoints").latest()[1].get("ended", False))
    except CheckpointError:
        return False


@functools.lru_cache(maxsize=1)
def prepared(settings: PaperSettings) -> Experiment:
    """The experiment of these settings, made once for all runs of a process.

    Raises:
        ValueError: no data, or fewer examples than a minibatch has.
    """
    experiment = settings.experiment()
    if experiment.examples < settings.batch_size:
        raise ValueError(f"{experiment.examples} examples are fewer than --batch-size {settings.batch_size}")
    return experiment


class Loop:
    """A run in training.

    Args:
        experiment: what is trained.
        run: norm, seed and settings.
        state: of `get_state`, to go on from; None for a new run.

    Attributes:
        updates: gradient steps made.
        ended: whether it has had its last epoch, or has diverged.
    """

    def __init__(self, experiment: Experiment, run: PaperRun, state: dict[str, Any] | None = None) -> None:
        self._experiment, self._run = experiment, run
        self._per_epoch = experiment.examples // run.settings.batch_size
        self._seed(Purpose.NETWORK)
        self.network = experiment.build(
            run.norm, torch.Generator().manual_seed(integer(run.seed, Purpose.NETWORK, index=1))
        )
        self.optimizer = experiment.optimizer(self.network, run.norm)
        self.updates, self.ended, self._seconds = 0, False, 0.0
        self._means = Means()
        self._seed(Purpose.AGENT)
        if state is not None:
            self._set_state(state)

    @property
    def epoch(self) -> int:
        """Whole epochs made."""
        return self.updates // self._per_epoch

    def run(self, tracker: RunTracker, save: Callable[[], Any], stopped: Callable[[], bool]) -> None:
        """Train until the end or a stop, which `save` follows, as it does now and then before."""
        saved = time.monotonic()
        with _Display(self._run, self.epoch) as display:
            while not self.ended and not stopped():
                for rows in self._rest_of_the_epoch():
                    self._update(rows)
                    if stopped():
                        break
                if self.updates and self.updates % self._per_epoch == 0:
                    self._end_epoch(tracker, display)
                if time.monotonic() - saved > CHECKPOINT_SECONDS and not self.ended:
                    save()
                    saved = time.monotonic()
        save()

    def _rest_of_the_epoch(self) -> Iterator[Tensor]:
        """The minibatches that are left of the present epoch, whose order depends on its number alone."""
        generator = torch.Generator().manual_seed(integer(self._run.seed, Purpose.REPLAY, self.epoch))
        order = torch.randperm(self._experiment.examples, generator=generator)
        size = self._run.settings.batch_size
        self._experiment.adjust(self.optimizer, self._run.norm, self.epoch)
        self.network.train()
        yield from order.split(size)[self.updates % self._per_epoch : self._per_epoch]

    def _update(self, rows: Tensor) -> None:
        start = time.perf_counter()
        metrics = self._experiment.loss(self.network, rows)
        self.optimizer.zero_grad()
        metrics["loss"].backward()
        self.optimizer.step()
        self._means.add({name: value.detach() for name, value in metrics.items()})
        self.updates += 1
        self._seconds += time.perf_counter() - start

    def _end_epoch(self, tracker: RunTracker, display: _Display) -> None:
        metrics = {f"train/{name}": value for name, value in self._means.read().items()}
        rate = self.optimizer.param_groups[0]["lr"]
        measured = self._measured(lambda: self._experiment.evaluate(self.network))
        row = {**metrics, **measured, "train/learning_rate": rate, "time/seconds": round(self._seconds, 3)}
        last = self._run.settings.all_epochs
        self.ended = self.epoch >= last or not math.isfinite(metrics["train/loss"])
        tracker.write(self.epoch, row)
        if self.ended or self.epoch % max(last // 10, 1) == 0:
            tracker.pictures(self.epoch, self._measured(lambda: self._experiment.pictures(self.network)))
        display.show(self.epoch, row)

    @torch.no_grad()
    def _measured(self, measure: Callable[[], Any]) -> Any:
        """What is measured in evaluation mode, with random numbers of its own."""
        with torch.random.fork_rng(devices=self._devices()):
            self._seed(Purpose.EVALUATION, self.epoch)
            self.network.eval()
            measured = measure()
        self.network.train()
        return measured

    def _seed(self, purpose: Purpose, index: int = 0) -> None:
        torch.manual_seed(integer(self._run.seed, purpose, index))

    def _devices(self) -> list[int]:
        """GPUs whose random numbers are used."""
        return [torch.cuda.current_device()] if self._run.settings.torch_device.type == "cuda" else []

    def get_state(self) -> dict[str, Any]:
        """Everything from which a run goes on as if it had not stopped."""
        return {
            "updates": self.updates,
            "epoch": self.epoch,
            "ended": self.ended,
            "seconds": self._seconds,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "means": self._means.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": [torch.cuda.get_rng_state(device) for device in self._devices()],
        }

    def _set_state(self, state: dict[str, Any]) -> None:
        self.updates, self.ended, self._seconds = state["updates"], state["ended"], state["seconds"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._means.set_state(state["means"])
        torch.set_rng_state(state["random"])
        for device, random in zip(self._devices(), state["random_cuda"], strict=False):
            torch.cuda.set_rng_state(random, device)


class _Display:
    """How far a run is: a bar in a terminal, else a line now and then; several runs at once have no bar."""

    def __init__(self, run: PaperRun, epoch: int) -> None:
        self._run, self._first, self._last = run, epoch, run.settings.all_epochs
        self._began = self._shown = time.monotonic()
        hidden = True if run.settings.jobs > 1 else None  # None: where stderr is no terminal
        self._bar = tqdm(total=self._last, initial=epoch, desc=str(run), unit="epoch", disable=hidden)

    def __enter__(self) -> _Display:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def show(self, epoch: int, row: dict[str, float]) -> None:
        """Show the metrics of an epoch that has ended."""
        text = ", ".join(f"{curve.label} {row[curve.tag]:.4g}" for curve in self._run.settings.curves)
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(epoch - self._bar.n)
        now = time.monotonic()
        if self._bar.disable and now - self._shown > LINE_SECONDS:
            self._shown = now
            left = (now - self._began) / (epoch - self._first) * (self._last - epoch)
            print(f"{self._run}, epoch {epoch} of {self._last}: {text}; {duration(left)} left", flush=True)


def _open_folder(run: PaperRun) -> tuple[RunDirectory, bool]:
    """The held folder of a run, and whether it has a checkpoint to go on from."""
    settings = {**to_json(run.settings), "norm": run.norm, "seed": run.seed}
    found = RunDirectory(run.folder)
    if found.last_step is None:
        config = {"experiment": run.settings.name, "settings": settings}
        again = run.folder.exists()
        return RunDirectory.create(
            run.folder, config, device=str(run.settings.torch_device), again=again, hold=True
        ), False
    before = RunDirectory.open(run.folder, write=True).config.get("settings", {})
    for name, value in settings.items():
        if name not in FREE and before.get(name) != value:
            flag = f"--{name.replace('_', '-')}"
            raise ValueError(
                f"{run.folder} holds a run with {flag} {before.get(name)}, not {value}: choose another --out"
            )
    found.hold()
    return found, True
