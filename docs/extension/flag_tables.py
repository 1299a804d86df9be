"""The flags of each command as rows of tables, made from the dataclasses that the commands parse."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple, get_args

from agents.commands.benchmark import Benchmark
from agents.commands.help import Flag, default_text, flags_of, metavar
from agents.registry import AGENTS
from agents.settings.flat import flat_defaults, to_flat
from agents.settings.run import TrainSettings

TRAIN = tuple(f"train {name}" for name in AGENTS)
MEASUREMENTS = {get_args(kind)[1].name: get_args(kind)[0] for kind in get_args(Benchmark)}
"""The dataclasses of `wnrl benchmark WHAT`."""
SETTINGS = {
    "evaluate": "agents.commands.evaluate:EvaluateSettings",
    "watch": "agents.commands.watch:WatchSettings",
    "sb3": "agents.settings.sb3:SB3Settings",
    "sweep": "agents.commands.sweep.settings:SweepSettings",
    "report": "agents.commands.report:ReportSettings",
}
"""The dataclasses of the other commands."""
COMMANDS = (*TRAIN, *SETTINGS, *(f"benchmark {what}" for what in MEASUREMENTS))


class Row(NamedTuple):
    """A flag."""

    flag: str
    """`--steps`, `--double, --no-double`, or the name of a positional argument."""
    takes: str
    """What stands behind it; empty for a switch."""
    default: str
    """Empty where there is none."""
    text: str
    """What it means."""


def groups(command: str) -> dict[str, list[Row]]:
    """The flags of `wnrl COMMAND` under their headings, in the order of `--help-all`."""
    what, _, name = command.partition(" ")
    if what == "train":
        spec = AGENTS[name]
        kind = TrainSettings[spec.settings]  # type: ignore[name-defined]
        games, others = (to_flat(spec.defaults({}, observation=seen)) for seen in ("game", "vector"))
    else:
        kind = MEASUREMENTS[name] if name else _imported(SETTINGS[what])
        games, others = flat_defaults(kind), {}
    tables: dict[str, list[Row]] = {}
    for flag in flags_of(kind):
        tables.setdefault(flag.group, []).append(_row(flag, games, others))
    return tables


def _imported(name: str) -> Any:
    module, kind = name.split(":")
    return getattr(importlib.import_module(module), kind)


def _row(flag: Flag, games: dict[str, Any], others: dict[str, Any]) -> Row:
    name, takes = flag.name.replace("_", "-"), metavar(flag.hint)
    default = default_text(flag.name, games, others)
    if "Positional" in repr(flag.hint):
        return Row(takes.removesuffix(" ...") if takes != "PATH" else flag.name.upper(), "", default, flag.text)
    return Row(f"--{name}" if takes else f"--{name}, --no-{name}", takes, default, flag.text)
