"""Command lines from dataclasses: defaults from a preset and a protocol, from the run that is resumed, or from another
run; errors in one line."""

from __future__ import annotations

import contextlib
import io
import itertools
import sys
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import tyro

from agents.commands.booleans import with_booleans
from agents.commands.complaints import one_line
from agents.commands.help import help_of_training, wanted
from agents.commands.invocation import how_to_call, quoted
from agents.commands.whole_numbers import plain_numbers
from agents.runtime.output_text import make_output_safe
from agents.settings.flat import replace, to_flat, to_json
from agents.settings.presets.base import length
from agents.settings.run import AUTO, TrainSettings
from agents.settings.trust import check_most, check_trusted
from agents.training.agent_spec import AgentSpec
from agents.training.run_directory import RunDirectory
from agents.training.stored_settings import settings_again, stored_settings

Parsed = TypeVar("Parsed")

# What may change when a run is resumed: nothing that the learner has seen. Compiled sums differ in their last digits.
RESUMABLE = {
    "steps",
    "schedule_steps",
    "device",
    "compile",
    "overlap",
    "graphs",
    "log_interval",
    "checkpoint_interval",
} | {
    "emulator_threads",
    "env_groups",
    "vectorization",
    "wandb",
    "eval_interval",
    "eval_episodes",
    "eval_steps",
    "eval_wait",
    "eval_epsilon",
}


def parse(spec: AgentSpec, description: str, argv: list[str] | None = None) -> TrainSettings[Any]:
    """The settings of a training run from a command line.

    Args:
        spec: of the agent: its settings become flags, its preset gives the defaults.
        description: one line above the help.
        argv: the arguments; the process's own by default.

    Raises:
        ValueError: a value is out of its range, no task is named, or a resumed run's settings are changed.
    """
    kind = TrainSettings[spec.settings]  # type: ignore[name-defined]
    argv = plain_numbers(sys.argv[1:] if argv is None else argv, kind)
    flags = given_flags(argv)
    _refuse_bare(argv)
    folder = _folder_to_continue(spec, flags)
    if flags.keys() >= {"eval_episodes", "eval_steps"} and flags["eval_steps"] != "0":
        raise ValueError("--eval-episodes counts games and --eval-steps steps: leave one of them out")
    base = _base(spec, flags) if folder is None else _changed(spec, stored_settings(spec, folder), flags)
    if asked := wanted(argv):
        make_output_safe()
        print(help_of_training(spec, description, asked, flags, base))
        raise SystemExit(0)
    try:
        settings = read(kind, description, argv, base)
        _check_trust(settings, flags)
    except ValueError:
        if folder is not None:
            _refuse_flags(to_json(base), flags)
        raise
    settings.run.task.name  # noqa: B018 - refuses a run without a task
    if folder is None and settings.run.task.env is not None and settings.run.config is None:
        from agents.training.task import Task  # brings gymnasium, which --help, a game or a wrong flag do without

        if (observation := Task(settings.run.task).observation) != "vector":
            settings = read(kind, description, argv, spec.defaults(flags, observation=observation))
    if folder is not None:
        settings = replace(settings, resume=folder)
        _refuse_changes(to_json(base), to_json(settings))
    return settings


def read(kind: type[Parsed], description: str, argv: list[str] | None = None, default: Parsed | None = None) -> Parsed:
    """An instance of the dataclass `kind` from a command line.

    Args:
        kind: its fields become flags, their docstrings the help; the fields of nested dataclasses too.
        description: one line above the help.
        argv: the arguments; the process's own by default.
        default: an instance with the flags' defaults; by default those of the dataclass.

    Raises:
        ValueError: an unknown flag, one of named arguments that is given twice, or a value of the wrong type or out of
            its range.
    """
    make_output_safe()
    complaint, argv = io.StringIO(), with_booleans(plain_numbers(sys.argv[1:] if argv is None else argv, kind), kind)
    _refuse_twice(argv)
    options: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, args=argv, description=description, config=(tyro.conf.OmitArgPrefixes,), **options)
    except SystemExit as end:
        if end.code != 2:
            raise
        raise ValueError(one_line(complaint.getvalue(), argv, kind)) from None


def fail(error: BaseException | str, code: int = 2) -> NoReturn:
    """Print an error in one line and exit with that code."""
    line = " ".join(str(error).split())
    print(f"{Path(sys.argv[0]).name}: error: {line}", file=sys.stderr)
    raise SystemExit(code)


def given_flags(argv: list[str] | None) -> dict[str, str]:
    """The given flags by name, with the text after each; the defaults of others depend on them."""
    flags: dict[str, str] = {}
    name = ""
    for text in sys.argv[1:] if argv is None else argv:
        if text.startswith("--"):
            name, _, value = text[2:].partition("=")
            name = name.replace("-", "_")
            flags[name] = value
        elif name:
            flags[name] = flags[name] or text
    return flags


NEEDED = {
    "--resume": "the folder of the run, or auto, which goes on in --run-dir DIR where that has a checkpoint",
    "--config": "the config.json of the run whose settings this one begins with",
    "--preset": "fast, or another set of defaults that --help lists",
}
"""What flags take that are read before all others."""


def _refuse_bare(argv: list[str]) -> None:
    """Raise ValueError where one of these flags has no value."""
    for flag, following in itertools.pairwise([*argv, "--"]):
        if flag in NEEDED and following.startswith("--"):
            raise ValueError(f"{flag} needs a value: {NEEDED[flag]}")


NAMED = ("env_kwargs", "hyperparams")
"""Settings of several arguments, each with its name."""


def _refuse_twice(argv: list[str]) -> None:
    """Raise ValueError where the flag of one of these is given more than once: those of the last would count alone."""
    given = [text.partition("=")[0] for text in argv if text.startswith("--")]
    for flag in given:
        if given.count(flag) > 1 and flag[2:].replace("-", "_") in NAMED:
            raise ValueError(f"{flag} is given more than once: give it once, with all of its values after it")


def _folder_to_continue(spec: AgentSpec, flags: dict[str, str]) -> Path | None:
    """The folder of the run to continue; None for a new run."""
    if "resume" not in flags:
        return None
    path = Path(flags["resume"])
    if path == AUTO:
        if not flags.get("run_dir"):
            raise ValueError("--resume auto needs --run-dir DIR, the folder of the run that it begins or continues")
        path = Path(flags["run_dir"])
        if RunDirectory(path).last_step is None:
            return None
    config = RunDirectory.open(path, write=True).config
    agent = config.get("agent")
    if config.get("library"):
        raise ValueError(
            f"{path} was made by train_sb3.py, whose runs cannot be continued: evaluate it, or start another"
        )
    if agent != spec.name:
        command = how_to_call("train", str(agent))
        raise ValueError(f"{path} was made by train_{agent}.py: continue with {command} --resume {quoted(path)}")
    return path


def _base(spec: AgentSpec, flags: dict[str, str]) -> TrainSettings[Any]:
    """The settings of a new run before its flags are read."""
    if "config" not in flags:
        return spec.defaults(flags, observation="vector" if "env" in flags else "game")
    for name in ("preset", "protocol"):
        if name in flags:
            raise ValueError(f"--config has every setting, so that --{name} would change none: leave one of them out")
    base = _changed(spec, settings_again(spec, Path(flags["config"])), flags)
    task = base.run.task
    other = {"game": None} if "env" in flags and task.game else {"env": None} if "game" in flags and task.env else {}
    return replace(base, **other)


def _changed(spec: AgentSpec, stored: TrainSettings[Any], flags: dict[str, str]) -> TrainSettings[Any]:
    """Settings of an earlier run, with those changed that depend on the flags: as in `AgentSpec.defaults`."""
    if "eval_episodes" in flags and "eval_steps" not in flags:
        stored = replace(stored, eval_steps=0)
    if stored.run.schedule_steps is None:
        stored = spec.for_length(stored, length({"steps": stored.run.steps}, flags))
    return stored


def _check_trust(settings: TrainSettings[Any], flags: dict[str, str]) -> None:
    """Raise ValueError where a file, and not the command line, names a module, and nothing says that it is trusted."""
    run, path = settings.run, flags.get("config") or flags.get("resume")
    if run.trust and path is None:
        raise ValueError("--trust is for a run that --resume or --config names: leave it out")
    if path and "env" not in flags and not run.trust:
        check_trusted(Path(path), run.task.env, run.task.env_options)
    if "config" in flags and not run.trust:
        check_most(
            Path(flags["config"]), {name: value for name, value in to_flat(settings).items() if name not in flags}
        )


def _refuse_flags(stored: dict[str, Any], flags: dict[str, str]) -> None:
    """Raise ValueError where one of the flags, which do not fit together, would change what cannot change."""
    for name, text in flags.items():
        given = {"": "True"}.get(text, text)
        if name.startswith("no_") and name not in stored:
            name, given = name.removeprefix("no_"), "False"
        value = stored.get(name)
        if name in stored and name not in RESUMABLE and not isinstance(value, list) and given != str(value):
            raise _cannot_change(name, value, given, stored)


def _refuse_changes(stored: dict[str, Any], settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        if name not in RESUMABLE and value != stored[name]:
            raise _cannot_change(name, stored[name], value, stored)


def _cannot_change(name: str, value: Any, given: Any, stored: dict[str, Any]) -> ValueError:
    is_ = f"it learns {stored['game'] or stored['env']}" if name in ("game", "env") else f"it is {value}"
    return ValueError(f"--{name.replace('_', '-')} cannot change in a resumed run: {is_}, {given} was given")
