"""The command that trains many runs: over agents, tasks, normalizers, settings and seeds, under Ray Tune."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from agents.commands.invocation import how_to_call, quoted
from agents.commands.parser import fail, parse, read
from agents.commands.sb3.command import parse_sb3
from agents.registry import AGENTS
from agents.runtime.output_text import make_output_safe
from agents.runtime.signals import StopSignal
from agents.settings.flat import names_of_types, to_flat
from agents.sweeps.plan import Override, Plan, seed_range, values_of
from agents.sweeps.presets import SWEEPS, scaled
from agents.sweeps.search import FIRST_SEED, Candidate, best_overrides, candidates, ends_of, grid_of, space_of
from agents.sweeps.sweep_file import SweepFile, read_sweep_file, toml_of
from agents.sweeps.trials import SB3, Trial, as_flag, combinations
from wnrl.checkpoints.files import replace_file

if TYPE_CHECKING:
    from agents.sweeps.ray_runs import Resources
    from agents.sweeps.sweep_folder import SweepFolder

MEASURED = 10.0
"""Seconds of learning by which --dry-run measures the speed of each group of trials."""


@dataclass(frozen=True)
class SweepSettings:
    """The runs, and what each of them gets. Every flag of the agents is an axis too: --learning-rate 1e-3 3e-4."""

    file: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.toml")] = None
    """File with these settings by name (agents = ["dqn", "ppo"]), settings of the runs under [axes], and those of some
    runs alone under [[override]]."""
    agents: Annotated[tuple[str, ...], tyro.conf.arg(metavar="AGENT")] = ()
    """Agents, dqn or ppo for example; sb3-ppo and its like are stable-baselines3's algorithms with our policies."""
    envs: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ID")] = ()
    """Ids of environments."""
    games: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = ()
    """Atari games."""
    norms: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NORM")] = ("none", "weight")
    """Normalizers."""
    seeds: int = 5
    """Runs of each combination; their random streams are independent."""
    first_seed: int = 0
    """Seed of the first of them; the others follow."""
    steps: int | None = None
    """Length of each run in environment steps."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("sweep")
    """Folder of the sweep. One that was stopped goes on where it was by the same command."""
    paper: bool = False
    """The deep reinforcement learning of Salimans & Kingma 2016: its four games, none and weight, preset paper."""
    atari_5: bool = False
    """The five games of Aitchison et al. 2023 under the protocol of Machado et al. 2018."""
    scale: float = 1.0
    """Factor of everything that is counted in steps, such as 0.01 to try a sweep in small."""
    overrides: Annotated[Path | None, tyro.conf.arg(metavar="FILE.toml")] = None
    """File with further [[override]] tables, such as the best.toml of a search."""
    tune: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SETTING=VALUES")] = ()
    """Search for the best settings of each agent, task and normalizer, on seeds of its own: learning_rate=1e-4,1e-3
    tries each value with --seeds runs; learning_rate=1e-4:1e-2 is a range, which needs --samples. out/best.toml has
    what was found, for --overrides."""
    samples: int | None = None
    """Runs of a search for each agent, task and normalizer, whose settings Optuna draws, and of which ASHA stops those
    that fall behind."""
    cpus_per_trial: float | None = None
    """Cores of a run; None: 1, or beside GPUs a fair share."""
    gpus_per_trial: float | None = None
    """Share of a GPU of a run, 0.25 for four on one; None: 0.25 where there is a GPU."""
    retries: int = 3
    """How often a run that breaks off goes on from its checkpoint."""
    address: str | None = None
    """Address of a Ray cluster (auto, or HOST:PORT); None: this machine."""
    dry_run: bool = False
    """Print the runs, and how long they will take by a measured speed; train nothing."""

    def __post_init__(self) -> None:
        if self.paper and self.atari_5:
            raise ValueError("--paper and --atari-5 are two sweeps: choose one")
        if not 0 < self.scale <= 1:
            raise ValueError(f"scale must be above 0 and at most 1, got {self.scale}")
        for name in ("cpus_per_trial", "gpus_per_trial"):
            if (value := getattr(self, name)) is not None and value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if self.first_seed < 0 or self.retries < 0:
            raise ValueError("first_seed and retries must not be negative")
        if self.samples is not None and (self.samples < 1 or not self.tune):
            raise ValueError(f"--samples is for a search by --tune and at least 1, got {self.samples}")
        if self.first_seed + self.seeds > FIRST_SEED:
            raise ValueError(f"seeds from {FIRST_SEED:,} are those of searches: choose another first_seed")


FLAGS = tuple(field.name for field in dataclasses.fields(SweepSettings))


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
        print("stopped: each run leaves a checkpoint, and the same command goes on", file=sys.stderr)
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


def read_sweep(description: str, argv: Sequence[str] | None = None) -> tuple[SweepSettings, Plan]:
    """The settings and the axes of a sweep from a command line, and the file that it names.

    Raises:
        ValueError: something in either is wrong.
    """
    own, axes = split(sys.argv[1:] if argv is None else argv)
    first = read(SweepSettings, description, own)
    found = SweepFile({}, {}, ())
    if first.file is not None:
        found = read_sweep_file(first.file, set(FLAGS) - {"file"})
    preset = SWEEPS["paper"] if first.paper else SWEEPS["atari-5"] if first.atari_5 else {}
    values = {**{name: value for name, value in preset.items() if name != "axes"}, **found.flags}
    settings = read(SweepSettings, description, own, _defaults(description, first.file, values))
    overrides = found.overrides
    if settings.overrides is not None:
        overrides += read_sweep_file(settings.overrides, set(FLAGS) - {"file"}).overrides
    return settings, _plan(settings, {**preset.get("axes", {}), **found.axes, **axes}, overrides)


def _defaults(description: str, file: Path | None, values: Mapping[str, Any]) -> SweepSettings:
    """Settings with the values of a preset and of a file, which are read as flags are."""
    several = names_of_types(SweepSettings, lambda types: Ellipsis in types)
    for name, value in values.items():
        if isinstance(value, tuple) and name not in several:
            raise ValueError(f"{file}: {name} takes one value, got {list(value)}")
    words = [word for name, value in values.items() if value != () for word in as_flag(name, value)]
    try:
        return read(SweepSettings, description, words)
    except ValueError as error:
        raise ValueError(f"{file}: {error}" if file else str(error)) from error


def _plan(settings: SweepSettings, axes: dict[str, Any], overrides: tuple[Override, ...]) -> Plan:
    tasks = settings.envs or settings.games
    missing = [name for name, given in (("steps", settings.steps), ("envs", tasks), ("games", tasks)) if not given]
    for axis in axes:
        for name in get_close_matches(axis, missing, n=1, cutoff=0.75):
            raise ValueError(f"there is no flag --{axis.replace('_', '-')}: did you mean --{name}?")
    if settings.steps is None:
        raise ValueError("name the length of each run: --steps 50000")
    seeds = seed_range(settings.first_seed, settings.seeds)
    if settings.tune:
        space = space_of(settings.tune)
        if both := space.keys() & axes.keys():
            raise ValueError(f"{min(both)} is searched by --tune, and given: leave one of them out")
        seeds = tuple(FIRST_SEED + seed for seed in seeds)
        axes = axes if settings.samples else axes | grid_of(space)
    return Plan(settings.agents, settings.envs, settings.games, settings.norms, seeds, settings.steps, axes, overrides)


def split(argv: Sequence[str]) -> tuple[list[str], dict[str, tuple[Any, ...]]]:
    """The words for `SweepSettings`, and the other flags with their values: the axes."""
    own: list[str] = []
    axes: dict[str, list[str]] = {}
    values = own
    for text in argv:
        name, _, value = text[2:].partition("=")
        name = name.replace("-", "_")
        if not text.startswith("--") or name in (*FLAGS, "help") or name.removeprefix("no_") in FLAGS:
            values = own if text.startswith("--") else values
            values.append(text)
        else:
            values = axes.setdefault(name, [])
            values += [value] if value else []
    return own, {
        name.removeprefix("no_") if not words and name.startswith("no_") else name: (
            (False,) if not words and name.startswith("no_") else values_of(words)
        )
        for name, words in axes.items()
    }


def checked(trials: Sequence[Trial], scale: float) -> list[Trial]:
    """The trials, shortened by `scale`, each of whose command lines the agent takes.

    Raises:
        ValueError: an agent refuses one.
    """
    shorter: dict[str, dict[str, Any]] = {}
    for trial in combinations(trials):
        settings = settings_of_run(trial)
        shorter[trial.group] = scaled(settings, scale) if scale < 1 else {}
    return [_shortened(trial, shorter[trial.group]) for trial in trials]


def _shortened(trial: Trial, values: dict[str, Any]) -> Trial:
    if not values:
        return trial
    own = {name: value for name, value in values.items() if name != "steps"}
    return dataclasses.replace(trial, steps=values["steps"], settings={**trial.settings, **own})


def settings_of_run(trial: Trial) -> dict[str, Any]:
    """The settings of a trial's run by flat name, as its command line says.

    Raises:
        ValueError: the agent refuses it.
    """
    try:
        if trial.game:
            from envs.games import game_name  # brings the emulator

            game_name(trial.task)
        if trial.agent.startswith(SB3):
            settings = parse_sb3("", trial.arguments[1:])
            if settings.hyperparams:
                from agents.commands.sb3.algorithms import parse_hyperparam  # brings torch

                [parse_hyperparam(text) for text in settings.hyperparams]
            return to_flat(settings)
        return to_flat(parse(AGENTS[trial.agent], "", trial.arguments[2:]))
    except ValueError as error:
        raise ValueError(f"{trial.group}: {error}") from error


def dry_run(settings: SweepSettings, trials: Sequence[Trial]) -> int:
    """Print the trials that are left, and the hours that they will take; returns the exit code."""
    from agents.sweeps.live_table import duration
    from agents.sweeps.speeds import measured_speed, seconds_of
    from agents.sweeps.sweep_folder import SweepFolder
    from envs.atari import usable_cores

    folder = SweepFolder(settings.out)
    left = [trial for trial in trials if not folder.finished(trial)]
    for trial in left:
        print(f"{trial.name}: wnrl {' '.join(trial.arguments)}")
    if not left:
        print(f"all {len(trials)} runs have finished")
        return 0
    resources = resources_of(settings)
    speeds = {}
    for trial in combinations(left):
        speeds[trial.group] = measured_speed(trial, max(1, int(resources.cpus)), MEASURED)
        print(f"{trial.group}: {speeds[trial.group]:,.0f} steps a second, measured alone for {MEASURED:.0f} seconds")
    at_once = max(1, int(usable_cores() / resources.cpus)) if resources.cpus else len(left)
    took = duration(seconds_of(left, speeds, at_once) * (settings.samples or 1))
    each = f", {settings.samples} samples each" if settings.samples else ""
    print(f"{len(left)} of {len(trials)} runs{each}, {at_once} at once: about {took}, evaluations not counted")
    return 0


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
            f'a sweep runs under Ray Tune, which is missing ({error}): python -m pip install "ray[tune]" optuna'
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

                table = LiveTable(trials, finished)
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
    from agents.sweeps.optuna_search import sample_of, search

    assert settings.samples is not None
    space = space_of(settings.tune)
    bases = [dataclasses.replace(trial, seed=0) for trial in combinations(trials)]
    for base in bases:  # an end of a range that the agent refuses is refused before anything runs
        for ends in ends_of(space):
            settings_of_run(sample_of(base, ends))
    folder = opened(settings.out)
    try:
        folder.record(bases)
        found: list[Candidate] = []
        with under_ray(settings) as (resources, stop):
            for number, base in enumerate(bases, 1):
                print(f"{base.group}: search {number} of {len(bases)}, {settings.samples} samples", flush=True)
                found += search(folder, base, space, settings.samples, resources, partial(check_stop, stop))
                _write_best(folder, found)
        return 0
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
    try:
        with StopSignal() as stop:  # within Ray's calls no handler may raise, and Ray has handlers of its own
            yield resources, stop
    finally:
        ray.shutdown()


def _write_best(folder: SweepFolder, found: Sequence[Candidate]) -> None:
    """Write `best.toml`, and print it."""
    text, path = toml_of(best_overrides(found)), folder.path / "best.toml"
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    print(text)
    print(f"{how_to_call('sweep')} … --overrides {quoted(path)} takes these")


def _end(settings: SweepSettings, folder: SweepFolder, trials: Sequence[Trial]) -> int:
    """Write and print the scores, and what comes next; returns the exit code."""
    from agents.sweeps.scores import final_scores, write_scores

    table = write_scores(folder, trials)
    if table is not None:
        print(table.as_text())
    if settings.tune:
        _write_best(folder, candidates(trials, final_scores(folder, trials), [*space_of(settings.tune)]))
    left = [trial for trial in trials if not folder.finished(trial)]
    if left:
        print(
            f"{len(left)} of {len(trials)} runs have not finished, {left[0].name} for example; what it printed is in "
            f"{folder.output_of(left[0])}. The same command goes on",
            file=sys.stderr,
        )
    if table is not None:
        print(f"{how_to_call('report')} {quoted(folder.runs)} compares them")
    return 1 if left else 0
