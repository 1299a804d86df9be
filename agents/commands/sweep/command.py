"""The command that trains many runs: over agents, tasks, normalizers, settings and seeds, under Ray Tune."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from agents.commands.invocation import how_to_call, quoted
from agents.commands.parser import fail
from agents.commands.sweep.command_line import checked, read_sweep, settings_of_run
from agents.commands.sweep.settings import SweepSettings
from agents.runtime.output_text import make_output_safe
from agents.runtime.signals import StopSignal, leaving_within
from agents.sweeps.search import (
    Candidate,
    Space,
    best_overrides,
    candidates,
    ends_of,
    space_of,
    stopped_best,
    without_best,
)
from agents.sweeps.sweep_file import toml_of
from agents.sweeps.trials import Trial, combinations
from wnrl.checkpoints.files import replace_file

if TYPE_CHECKING:
    from agents.sweeps.ray_runs import Resources
    from agents.sweeps.sweep_folder import SweepFolder

MEASURED = 10.0
"""Seconds of learning by which --dry-run measures the speed of each group of trials."""

PATIENCE = 20.0
"""Seconds within which Ray has to return after a signal."""
NO_SCORE = "no run has a score: each ended before a game and a row of metrics did (--log-interval)"
STOPPED = "stopped: each run leaves a checkpoint, and the same command goes on"


def main(description: str) -> int:
    """Train the runs, as `scripts/sweep.py` does; returns the exit code, 1 where a run has failed."""
    make_output_safe()
    try:
        settings, plan = read_sweep(description)
        trials = checked(plan.trials(), settings.scale)
        work = dry_run if settings.dry_run else draw if settings.samples else sweep
        return work(settings, trials)
    except (ValueError, ModuleNotFoundError) as error:
        fail(error)
    except StoppedError as stop:
        print(STOPPED, file=sys.stderr)
        return 128 + stop.number
    except KeyboardInterrupt:
        return 130


class StoppedError(Exception):
    """A signal has stopped the sweep."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def check_stop(stop: StopSignal) -> None:
    """Raise StoppedError where a signal has requested a stop."""
    if stop.received is not None:
        raise StoppedError(stop.received)


def dry_run(settings: SweepSettings, trials: Sequence[Trial]) -> int:
    """Print the runs that are left, and the hours that they will take; returns the exit code.

    Raises:
        ValueError: the folder of the sweep holds another one.
    """
    from agents.sweeps.live_table import duration
    from agents.sweeps.speeds import measured_speed, seconds_of

    left = _samples_left(settings, trials) if settings.samples else _runs_left(settings, trials)
    whole = settings.samples * len(combinations(trials)) if settings.samples else len(trials)
    if not left:
        print(f"all {whole} runs have finished")
        return 0
    resources = resources_of(settings)
    speeds = {}
    for trial in combinations(left):
        speeds[trial.group] = measured_speed(trial, max(1, int(resources.cpus)), MEASURED)
        print(f"{trial.group}: {speeds[trial.group]:,.0f} steps a second, measured alone for {MEASURED:.0f} seconds")
    searches = groupby(left, lambda trial: trial.group)  # which run one after the other
    together = [[*search] for _, search in searches] if settings.samples else [left]
    at_once = _at_once(resources, max(map(len, together)))
    took = duration(sum(seconds_of(trials, speeds, at_once) for trials in together))
    less = ", less where ASHA stops some" if settings.samples else ""
    print(f"{len(left)} of {whole} runs, {at_once} at once: about {took}, evaluations not counted{less}")
    return 0


def _at_once(resources: Resources, runs: int) -> int:
    """How many of so many runs this machine has room for beside each other."""
    from agents.settings.presets.machine import has_gpu
    from envs.atari import usable_cores

    room = [runs]
    if resources.cpus:
        room.append(int(usable_cores() / resources.cpus))
    if resources.gpus and has_gpu():
        import torch

        room.append(int(torch.cuda.device_count() / resources.gpus))
    return max(1, min(room))


def _runs_left(settings: SweepSettings, trials: Sequence[Trial]) -> list[Trial]:
    """Print the trials that have not finished; returns them."""
    from agents.sweeps.sweep_folder import SweepFolder

    left = SweepFolder(settings.out).left(trials)
    for trial in left:
        print(f"{trial.name}: wnrl {' '.join(map(quoted, trial.arguments))}")
    return left


def _samples_left(settings: SweepSettings, trials: Sequence[Trial]) -> list[Trial]:
    """Print how many samples each search has left; returns the search's trial once for each of them."""
    _need_ray()
    from agents.sweeps.optuna_search import samples_of
    from agents.sweeps.sweep_folder import SweepFolder

    assert settings.samples is not None
    space = space_of(settings.tune)
    folder, bases, left = SweepFolder(settings.out), _bases(trials, space), list[Trial]()
    folder.left(bases, longer=False)  # refuses what the search would refuse
    for base in bases:
        more = max(0, settings.samples - len(samples_of(folder, base, space).read()))
        command = " ".join(map(quoted, base.arguments))
        print(f"{base.group}: {more} samples of wnrl {command}, each with settings and a seed of its own")
        left += [base] * more
    return left


def _bases(trials: Sequence[Trial], space: Space) -> list[Trial]:
    """The trial of each search, without the settings that are drawn.

    Raises:
        ValueError: the agent refuses an end of a range, or a listed value.
    """
    from agents.sweeps.optuna_search import sample_of

    bases = [dataclasses.replace(trial, seed=0) for trial in combinations(trials)]
    for base in bases:
        for ends in ends_of(space):
            settings_of_run(sample_of(base, ends))
    return bases


def resources_of(settings: SweepSettings) -> Resources:
    """What each trial gets."""
    from agents.settings.presets.machine import has_gpu
    from agents.sweeps.ray_runs import Resources
    from envs.atari import usable_cores

    gpus = settings.gpus_per_trial
    if gpus is None:
        gpus = 0.25 if settings.address is None and has_gpu() else 0.0
    cpus = settings.cpus_per_trial
    if cpus is None:
        cpus = max(1.0, usable_cores() * gpus) if gpus else 1.0
    return Resources(cpus, gpus, settings.retries, settings.address)


def _need_ray() -> None:
    """Raise ValueError where Ray Tune is not installed."""
    try:
        import ray.tune  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f'a sweep runs under Ray Tune, which is missing ({error}): python -m pip install "wnrl[sweep]"'
        ) from error


def sweep(settings: SweepSettings, trials: Sequence[Trial]) -> int:
    """Run the trials that have not finished yet; returns the exit code."""
    from agents.sweeps.live_table import LiveTable

    folder = opened(settings.out)
    try:
        folder.record(trials)
        finished = [trial for trial in trials if folder.finished(trial)]
        kinds = len(combinations(trials))
        print(f"{len(trials)} runs of {kinds} kinds, {len(finished)} of them finished, in {settings.out}", flush=True)
        if left := [trial for trial in trials if trial not in finished]:
            with under_ray(settings) as (resources, stop):
                from agents.sweeps.ray_runs import run_trials

                broken = [trial for trial in finished if folder.breakdown_of(trial) is not None]
                table = LiveTable(trials, finished, broken=broken)
                try:
                    run_trials(folder, left, resources, table, partial(check_stop, stop))
                finally:
                    table.close()
        return _end(settings, folder, trials)
    finally:
        folder.release()


def draw(settings: SweepSettings, trials: Sequence[Trial]) -> int:
    """Search by samples, for one agent, task and normalizer after the other; returns the exit code."""
    _need_ray()
    from agents.sweeps.optuna_search import samples_of, search

    assert settings.samples is not None
    space = space_of(settings.tune)
    bases = _bases(trials, space)
    folder = opened(settings.out)
    try:
        folder.record(bases, longer=False)
        for base in bases:
            samples_of(folder, base, space)  # of another space they are refused before Ray starts
        found: list[Candidate] = []
        complete = True
        with under_ray(settings) as (resources, stop):
            for number, base in enumerate(bases, 1):
                print(f"{base.group}: search {number} of {len(bases)}, {settings.samples} samples", flush=True)
                drawn = search(folder, base, space, settings.samples, resources, partial(check_stop, stop))
                found += drawn
                complete &= _all_drawn(folder, base, settings.samples - len(drawn))
                _write_best(folder, found)
        for kind in stopped_best(found):
            print(
                f"{kind}: no sample made all steps and worked, so that the best is one that was stopped",
                file=sys.stderr,
            )
        return 0 if _all_found(bases, found) and complete else 1
    finally:
        folder.release()


def opened(path: Path) -> SweepFolder:
    """The folder of a sweep, in which no other sweep writes until it is released."""
    from agents.sweeps.sweep_folder import SweepFolder

    _need_ray()
    folder = SweepFolder(path)
    folder.hold()
    return folder


@contextmanager
def under_ray(settings: SweepSettings) -> Iterator[tuple[Resources, StopSignal]]:
    """A context in which Ray runs; gives what each trial gets, and whether a signal has requested a stop."""
    import ray

    from agents.sweeps.ray_runs import connect

    resources = resources_of(settings)
    print("starting Ray" if resources.address is None else f"joining Ray at {resources.address}", flush=True)
    connect(resources)
    # within Ray's calls no handler may raise, and Ray has handlers of its own; where the signal has ended Ray's server
    # too, as the end of a job's time does, its calls wait for a minute
    with StopSignal() as stop, leaving_within(PATIENCE, STOPPED):
        try:
            yield resources, stop
        finally:
            ray.shutdown()


def _write_best(folder: SweepFolder, found: Sequence[Candidate]) -> None:
    """Write `best.toml`, and print it."""
    if best := best_overrides(found):
        text, path = toml_of(best), folder.path / "best.toml"
        replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        print(text)
        print(f"{how_to_call('sweep')} … --overrides {quoted(path)} takes these")


def _all_drawn(folder: SweepFolder, base: Trial, missing: int) -> bool:
    """Whether no sample is missing; else says so."""
    if missing > 0:
        print(
            f"{base.group}: {missing} samples have no score: they failed, or ended before a game and a row of metrics "
            f"did (--log-interval). {folder.output_of(base).parent} has what they printed; the same command goes on",
            file=sys.stderr,
        )
    return missing <= 0


def _all_found(trials: Sequence[Trial], found: Sequence[Candidate]) -> bool:
    """Whether each agent, task and normalizer has best settings; those that have none are named."""
    for kind, tried in (missing := without_best(trials, found)).items():
        why = "learning broke down with all that were tried" if tried else "none has a score from all its runs"
        print(f"{kind} has no best settings: {why}", file=sys.stderr)
    return not missing


def _end(settings: SweepSettings, folder: SweepFolder, trials: Sequence[Trial]) -> int:
    """Write and print the scores, and what comes next; returns the exit code."""
    from agents.sweeps.scores import final_scores, report_settings, write_scores

    table = write_scores(folder, trials)
    if table is not None:
        print(f"{table.title}:\n{table.as_text()}")
    broken, complete = [trial.name for trial in trials if folder.breakdown_of(trial) is not None], True
    if settings.tune:
        found = candidates(trials, final_scores(folder, trials), [*space_of(settings.tune)], broken)
        _write_best(folder, found)
        complete = _all_found(trials, found)
    left = [trial for trial in trials if not folder.finished(trial)]
    if left:
        print(
            f"{len(left)} of {len(trials)} runs have not finished, {left[0].name} for example; what it printed is in "
            f"{folder.output_of(left[0])}. The same command goes on",
            file=sys.stderr,
        )
    if broken:
        which = f"learning broke down in {len(broken)} of {len(trials)} runs, {broken[0]} for example"
        counted = "and no run has a score" if table is None else "from there on counted with the lowest score of all"
        print(f"{which}, {counted}", file=sys.stderr)
    elif table is None and not left:
        print(NO_SCORE, file=sys.stderr)
    if table is not None:
        others = folder.others(trials)
        more = f", and {others} of earlier commands, which trials.csv and scores.csv leave out" if others else ""
        by = "".join(f" {name}" for name in report_settings(trials))
        print(f"{how_to_call('report')} {quoted(folder.runs)}{by and f' --by{by}'} compares them{more}")
    return 1 if left or not complete or table is None else 0
