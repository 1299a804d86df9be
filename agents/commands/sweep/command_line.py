"""A sweep from its command line and the file that this names, each run's own command line included."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from agents.commands.parser import parse, read
from agents.commands.sb3.command import parse_sb3
from agents.commands.sweep.settings import FLAGS, SweepSettings
from agents.registry import AGENTS
from agents.reports.cautions import FIRST_SEARCHED
from agents.settings.flat import names_of_types, to_flat
from agents.settings.sb3 import SB3Settings
from agents.sweeps.plan import Override, Plan, check_setting, kinds, seed_range, values_of
from agents.sweeps.presets import SWEEPS, scaled
from agents.sweeps.search import grid_of, space_of
from agents.sweeps.sweep_file import SweepFile, read_sweep_file
from agents.sweeps.trials import SB3, Trial, as_flag, combinations


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
    written = _defaults(description, first.file, values)
    settings = read(SweepSettings, description, own, written)
    overrides = _applying(found.overrides, settings, written)
    if settings.overrides is not None:
        overrides += _applying_of(settings.overrides, _overrides_in(settings.overrides), settings)
    return settings, _plan(settings, {**preset.get("axes", {}), **found.axes, **axes}, overrides)


def _overrides_in(path: Path) -> tuple[Override, ...]:
    """The overrides of a file of them; what else a sweep's file may have is named on stderr.

    Raises:
        ValueError: it has none.
    """
    found = read_sweep_file(path, set(FLAGS) - {"file"})
    if not found.overrides:
        raise ValueError(f"{path} has no [[override]], which --overrides takes: leave the flag out, or add one")
    if others := [*found.flags, *(f"{name} under [axes]" for name in found.axes)]:
        print(f"{path}: --overrides takes no {', '.join(others)}: left out", file=sys.stderr)
    return found.overrides


def _applying(overrides: Sequence[Override], settings: SweepSettings, written: SweepSettings) -> tuple[Override, ...]:
    """A file's overrides but for those of runs that are written there and that the command line leaves out."""
    tasks = (*settings.envs, *settings.games)
    asked = kinds(settings.agents, tasks, settings.norms)
    in_file = kinds(written.agents or settings.agents, (*written.envs, *written.games) or tasks, written.norms)
    left_out = [kind for kind in in_file if kind not in asked]
    return tuple(override for override in overrides if override.holds_any(asked) or not override.holds_any(left_out))


def _applying_of(file: Path, overrides: Sequence[Override], settings: SweepSettings) -> tuple[Override, ...]:
    """The overrides of a file, such as that of a search over more normalizers, but for those of no run here.

    These are named on stderr; where all of them are, they stay, and the plan refuses them.
    """
    asked = kinds(settings.agents, (*settings.envs, *settings.games), settings.norms)
    found = tuple(override for override in overrides if override.holds_any(asked))
    if not found:
        return tuple(overrides)
    for override in overrides:
        if override not in found:
            print(f"{file}: no run has {override.condition}, which an override is for: left out", file=sys.stderr)
    return found


def _defaults(description: str, file: Path | None, values: Mapping[str, Any]) -> SweepSettings:
    """Settings with the values of a preset and of a file, which are read as flags are."""
    for name, value in values.items():
        if isinstance(value, tuple) and name not in _several():
            raise ValueError(f"{file}: {name} takes one value, got {list(value)}")
    words = [word for name, value in values.items() for word in as_flag(name, value)]
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
        if both := space.keys() & {name for override in overrides for name in override.settings}:
            raise ValueError(f"{min(both)} is searched by --tune, and in an override: leave one of them out")
        for axis, values in axes.items():
            if len(values) > 1:
                raise ValueError(
                    f"{axis} has {len(values)} values beside --tune, and best.toml would name none of them: search for "
                    "each value in an --out of its own, or add it to --tune"
                )
        seeds = tuple(FIRST_SEARCHED + seed for seed in seeds)
        if settings.samples:  # what is drawn is no axis, which the plan would check
            for agent, name in itertools.product(settings.agents, space):
                check_setting(agent, name)
        else:
            axes = axes | grid_of(space)
    return Plan(settings.agents, settings.envs, settings.games, settings.norms, seeds, settings.steps, axes, overrides)


def split(argv: Sequence[str]) -> tuple[list[str], dict[str, tuple[Any, ...]]]:
    """The words for `SweepSettings`, and the other flags with their values: the axes.

    Raises:
        ValueError: a flag of the sweep that takes several values is there twice, of which only the last would count.
    """
    own: list[str] = []
    given: set[str] = set()
    axes: dict[str, list[str]] = {}
    values = own
    for text in argv:
        name, _, value = text[2:].partition("=")
        name = name.replace("-", "_")
        if not text.startswith("--") or name in (*FLAGS, "help") or name.removeprefix("no_") in FLAGS:
            if text.startswith("--"):
                values = own
                _check_once(name, given)
            values.append(text)
        else:
            values = axes.setdefault(name, [])
            values += [value] if value else []
    found: dict[str, tuple[Any, ...]] = {}
    for name, words in axes.items():
        off = not words and name.startswith("no_")
        setting = name.removeprefix("no_") if off else name
        found[setting] = found.get(setting, ()) + ((False,) if off else values_of(words))
    return own, found


def _check_once(name: str, given: set[str]) -> None:
    """Note that a flag is given; raises ValueError where it takes several values and has been given before."""
    if name in given and name in _several():
        raise ValueError(f"--{name} is there twice: give it all its values at once, --{name} A B")
    given.add(name)


def _several() -> set[str]:
    """Names of the sweep's flags that take several values."""
    return names_of_types(SweepSettings, lambda types: Ellipsis in types)


def checked(trials: Sequence[Trial], scale: float) -> list[Trial]:
    """The trials, shortened by `scale`, each of whose command lines the agent takes.

    Raises:
        ValueError: an agent refuses one, or two values of a setting or two games are the same.
    """
    shorter: dict[str, dict[str, Any]] = {}
    known: dict[str, str] = {}
    for trial in combinations(trials):
        settings = settings_of_run(trial)
        shorter[trial.group] = scaled(settings, scale) if scale < 1 else {}
        _check_other(trial, {**settings, **shorter[trial.group]}, known)
    _check_games([*dict.fromkeys(trial.task for trial in trials if trial.game)])
    return [_shortened(trial, shorter[trial.group]) for trial in trials]


def _check_other(trial: Trial, settings: Mapping[str, Any], known: dict[str, str]) -> None:
    """Note the values by which a trial differs from others; raises ValueError where an earlier one has the same."""
    meaning = repr([trial.agent, trial.task, trial.norm, *(settings[name] for name in trial.varied)])
    if (first := known.setdefault(meaning, trial.group)) != trial.group:
        raise ValueError(f"{first} and {trial.group} are the same: leave one of these values out")


def _check_games(games: Sequence[str]) -> None:
    """Raise ValueError where two names are of one game."""
    if len(games) > 1:
        from envs.games import game_name  # brings the emulator

        known: dict[str, str] = {}
        for game in games:
            if (first := known.setdefault(game_name(game), game)) != game:
                raise ValueError(f"--games has {first} and {game}, which are the same game: leave one of them out")


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
            return to_flat(_sb3_settings(trial.arguments[1:]))
        return to_flat(parse(AGENTS[trial.agent], "", trial.arguments[2:]))
    except ValueError as error:
        raise ValueError(f"{trial.group}: {error}") from error


def _sb3_settings(arguments: list[str]) -> SB3Settings:
    """The settings of a run of stable-baselines3's algorithm, with what is checked only where it begins.

    Raises:
        ValueError: a value is wrong, the environment cannot be made, or the algorithm has no such hyperparameter.
    """
    settings = parse_sb3("", arguments)
    if settings.task.env is not None:
        from envs.makers import Maker  # brings gymnasium

        Maker(settings.task.env, settings.task.env_options)().close()
    if settings.hyperparams:
        from agents.commands.sb3.algorithms import check_taken, parse_hyperparam  # brings torch

        check_taken(settings.algo, dict(map(parse_hyperparam, settings.hyperparams)))
    return settings
