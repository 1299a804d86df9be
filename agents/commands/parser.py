"""Command lines from dataclasses: defaults from a preset or from a run's own settings, errors in one line."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import itertools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import tyro

from agents.settings.run import RunSettings
from agents.training.run_directory import RunDirectory, to_json

Parsed = TypeVar("Parsed")
Settings = TypeVar("Settings", bound=RunSettings)

# What may change when a run goes on: nothing that the learner has seen.
RESUMABLE = {"steps", "device", "overlap", "graphs", "log_interval", "checkpoint_interval"} | {
    "eval_interval",
    "eval_episodes",
    "eval_steps",
    "eval_epsilon",
}


def parse(
    kind: type[Settings], defaults: Callable[..., dict[str, Any]], description: str, argv: list[str] | None = None
) -> Settings:
    """Settings of type `kind` from a command line.

    Args:
        kind: a dataclass whose fields become flags, their docstrings the help.
        defaults: takes a preset's name, `images`, `norm` and the `flags` that are given, as text by name; returns the
            preset's values.
        description: one line above the help.
        argv: the arguments; the process's own by default.

    Raises:
        ValueError: a value is out of its range, or a resumed run's settings are changed.
    """
    first = _first_look(argv)
    given: dict[str, Any]
    if first.resume is not None:
        given = _resumed(kind, first.resume)
    else:
        given = defaults(first.preset, images=first.env is None, norm=first.norm, flags=_flags(argv))
    base = _unchecked(kind, given)
    settings = read(kind, description, argv, base)
    if first.resume is not None:
        _refuse_changes(to_json(base), to_json(settings))
    return settings


def read(kind: type[Parsed], description: str, argv: list[str] | None = None, default: Parsed | None = None) -> Parsed:
    """An instance of the dataclass `kind` from a command line.

    Args:
        kind: its fields become flags, their docstrings the help.
        description: one line above the help.
        argv: the arguments; the process's own by default.
        default: where the flags' defaults come from; the dataclass itself by default.

    Raises:
        ValueError: an unknown flag, or a value of the wrong type or out of its range.
    """
    complaint = io.StringIO()
    options: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(kind, args=argv, description=description, config=(tyro.conf.OmitArgPrefixes,), **options)
    except SystemExit as end:
        if end.code != 2:
            raise
        raise ValueError(_without_box(complaint.getvalue())) from None


def _without_box(text: str) -> str:
    """The sentences of a message that stands in a box: title, sentences, a rule, a hint."""
    lines = [line.strip("│╭╮╰╯─ ") for line in text.splitlines()[1:]]
    said = itertools.takewhile(lambda line: not line.startswith(("For full helptext", "Argument helptext")), lines)
    return re.sub(r"^Error parsing [A-Z]\w*: ", "", " ".join(line for line in said if line.strip("-")))


def fail(error: BaseException | str) -> NoReturn:
    """Say what is wrong in one line and leave with exit code 2."""
    line = " ".join(str(error).split())
    print(f"{Path(sys.argv[0]).name}: error: {line}", file=sys.stderr)
    raise SystemExit(2)


def _first_look(argv: list[str] | None) -> argparse.Namespace:
    """The flags on which the others' defaults depend."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--env")
    parser.add_argument("--norm", default="weight")
    parser.add_argument("--resume", type=Path)
    return parser.parse_known_args(argv)[0]


def _flags(argv: list[str] | None) -> dict[str, str]:
    """The flags that are given: by name, the text behind each, or nothing."""
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


def _resumed(kind: type[Settings], path: Path) -> dict[str, Any]:
    """The settings of the run in that folder."""
    stored = RunDirectory.open(path).config["settings"]
    names = {field.name for field in dataclasses.fields(kind)}
    if names - stored.keys() or stored.keys() - names:
        differing = sorted(names ^ stored.keys())
        raise ValueError(f"{path} was made by another agent or version: its settings differ in {differing}")
    return {**stored, "hidden": tuple(stored["hidden"]), "resume": path, "run_dir": path}


def _refuse_changes(stored: dict[str, Any], settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        if name not in RESUMABLE and value != stored[name]:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} cannot change in a resumed run: it is {stored[name]}, {value} was given")


def _unchecked(kind: type[Settings], values: dict[str, Any]) -> Settings:
    """An instance that is not checked yet: the task is still missing from a preset's defaults."""
    instance = object.__new__(kind)
    for field in dataclasses.fields(kind):
        default = field.default_factory() if callable(field.default_factory) else field.default
        object.__setattr__(instance, field.name, values.get(field.name, default))
    return instance
