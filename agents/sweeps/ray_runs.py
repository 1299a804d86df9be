"""Trials under Ray Tune, on this machine or on a cluster."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune

from agents.sweeps.live_table import LiveTable
from agents.sweeps.search import WORST
from agents.sweeps.sweep_folder import SweepFolder
from agents.sweeps.trial_process import Progress, end_of, train_trial
from agents.sweeps.trials import Trial

ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # its tables: the sweep has one of its own
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the runs write their own metrics
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a run without a GPU chooses its device itself
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_kill_child_processes_on_worker_exit": "0",  # they are asked to stop, and write a checkpoint
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends Tune; the runs are asked to stop as their workers end
}


@dataclass(frozen=True)
class Resources:
    """What a trial gets."""

    cpus: float
    gpus: float
    """Share of a GPU: of 0.25, four trials share one."""
    retries: int
    """How often a trial that breaks off goes on from its checkpoint."""
    address: str | None
    """Of a cluster; None: this machine."""


def connect(resources: Resources) -> None:
    """Start Ray on this machine, or join a cluster.

    Raises:
        ValueError: there is none at that address, or it has not what a trial needs.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from envs.atari import usable_cores  # brings the emulator, which the workers do without

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if resources.address is None:
        options |= {"include_dashboard": False, "num_cpus": usable_cores()}
    try:
        ray.init(address=resources.address or "local", **options)
    except (ConnectionError, RuntimeError, TimeoutError) as error:
        first = str(error).strip().split("\n")[0]
        raise ValueError(f"no Ray cluster answers at {resources.address}: {first}") from error
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # the table says in a line what failed
    has = ray.cluster_resources()
    for name, wanted in (("CPU", resources.cpus), ("GPU", resources.gpus)):
        if wanted > has.get(name, 0):
            ray.shutdown()
            raise ValueError(
                f"a trial would get {wanted:g} {name}s, and there are {has.get(name, 0):g}: give it less by "
                f"--{name.lower()}s-per-trial"
            )


def configuration(folder: SweepFolder, trial: Trial, threads: int) -> dict[str, Any]:
    """What a worker needs to run a trial."""
    run = folder.run_of(trial).absolute()
    return {
        "name": trial.name,
        "arguments": trial.arguments_in(run),
        "folder": str(run),
        "output": str(folder.output_of(trial).absolute()),
        "threads": threads,
        "steps": trial.steps,
        "resumable": trial.resumable,
        "cwd": os.getcwd(),
    }


def run_trials(
    folder: SweepFolder,
    trials: Sequence[Trial],
    resources: Resources,
    table: LiveTable,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Run trials until all have finished or failed.

    Args:
        folder: of the sweep.
        trials: not finished yet.
        resources: of each.
        table: shows them.
        check: called often; what it raises ends all, and each run is asked to leave a checkpoint.
    """
    threads = max(1, int(resources.cpus))
    configs = [configuration(folder, trial, threads) for trial in trials]
    fit(folder, {"trial": tune.grid_search(configs)}, resources, [ShownTrials(table, check)])


def fit(
    folder: SweepFolder,
    space: Mapping[str, Any],
    resources: Resources,
    callbacks: Sequence[tune.Callback],
    config: tune.TuneConfig | None = None,
    trainable: Callable[[Mapping[str, Any]], None] | None = None,
) -> None:
    """Run Tune, whose records are removed afterwards: the runs' own folders hold everything.

    Where it cannot keep its records, as on a full disk, it ends early, with a line on stderr.
    """
    storage = folder.ray.absolute()
    shutil.rmtree(storage, ignore_errors=True)
    work = tune.with_resources(trainable or tuned_trial, {"cpu": resources.cpus, "gpu": resources.gpus})
    run_config = tune.RunConfig(
        name="tune",
        storage_path=str(storage),
        failure_config=tune.FailureConfig(max_failures=resources.retries),
        callbacks=[*callbacks],
        verbose=0,
    )
    try:
        tune.Tuner(work, param_space={**space}, tune_config=config, run_config=run_config).fit()
    except (OSError, EOFError, pickle.PickleError) as error:
        print(f"Ray cannot keep its records in {storage}: {error}", file=sys.stderr)
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def tuned_trial(config: Mapping[str, Any]) -> None:
    """A trial in a worker of Ray."""
    trial = config["trial"]
    os.chdir(trial["cwd"] if Path(trial["cwd"]).is_dir() else "/")
    train_trial(trial, _report)
    _report(end_of(Path(trial["folder"]), trial["steps"]))


def _report(progress: Progress) -> None:
    score = WORST if progress.broke_down else float("nan") if progress.score is None else progress.score
    tune.report({"step": progress.step, "score": score, "broke_down": progress.broke_down})


class ShownTrials(tune.Callback):
    """Shows Tune's trials in a table.

    Args:
        table: that is kept up to date.
        check: called often; what it raises ends Tune.
    """

    def __init__(self, table: LiveTable, check: Callable[[], None] = lambda: None) -> None:
        self._table, self._check = table, check

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Before each step of Tune's loop."""
        self._check()

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        return tune.Callback, ()  # Tune keeps records by which it could go on; the table is of this process

    def name_of(self, trial: Any) -> str:
        """The name of the trial that Tune runs."""
        return trial.config["trial"]["name"]

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """See the table's methods; so the others."""
        self._table.started(self.name_of(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A new row of metrics."""
        score = result.get("score")
        known = None if score != score or score == WORST else score
        self._table.progressed(self.name_of(trial), result.get("step", 0), known)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The end of a trial."""
        result = trial.last_result or {}
        if result.get("broke_down"):
            self._table.broke_down(self.name_of(trial), result["step"])
        else:
            self._table.finished(self.name_of(trial))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial broke off and is started again."""
        self._table.failed(self.name_of(trial), _why(trial), final=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial broke off too often."""
        self._table.failed(self.name_of(trial), _why(trial), final=True)


def _why(trial: Any) -> str:
    """The last line of the error that ended it."""
    try:
        lines = Path(trial.error_file).read_text(encoding="utf-8").strip().splitlines()
    except (OSError, TypeError):
        return "its worker died"
    return lines[-1].split("RuntimeError: ")[-1] if lines else "its worker died"
