"""Command lines from dataclasses: defaults from a preset and a protocol, or from the run that is resumed; errors in one
line."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import sys
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import tyro

from agents.settings.flat import to_json
from agents.settings.run import TrainSettings
from agents.training.agent_spec import AgentSpec
from agents.training.stored_settings import stored_settings

Parsed = TypeVar("Parsed")

# What may change when a run is resumed: nothing that the learner has seen.
RESUMABLE = {"steps", "schedule_steps", "device", "overlap", "graphs", "log_interval", "checkpoint_interval"} | {
    "eval_interval",
    "eval_episodes",
    "eval_steps",
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
    flags = given_flags(argv)
    if "resume" in flags:
        base = stored_settings(spec, Path(flags["resume"]))
    else:
        base = spec.defaults(flags, images="env" not in flags)
    settings = read(kind, description, argv, base)
    settings.run.task.name  # noqa: B018 - refuses a run without a task
    if settings.run.resume is not None:
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


def fail(error: BaseException | str) -> NoReturn:
    """Print an error in one line and exit with code 2."""
    line = " ".join(str(error).split())
    print(f"{Path(sys.argv[0]).name}: error: {line}", file=sys.stderr)
    raise SystemExit(2)


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


def _without_box(text: str) -> str:
    """The sentences of tyro's message, which has a box around a title, sentences, a rule and a hint."""
    lines = [line.strip("│╭╮╰╯─ ") for line in text.splitlines()[1:]]
    said = itertools.takewhile(lambda line: not line.startswith(("For full helptext", "Argument helptext")), lines)
    text = " ".join(line for line in said if line.strip("-"))
    return re.sub(r"^Error parsing [A-Za-z][\w.-]*: ", "", text)  # the dataclass; a flag's name stays


def _refuse_changes(stored: dict[str, Any], settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        if name not in RESUMABLE and value != stored[name]:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} cannot change in a resumed run: it is {stored[name]}, {value} was given")
