"""The help of a training command: the flags that most runs need, or all of them in groups."""

from __future__ import annotations

import ast
import contextlib
import inspect
import shutil
import sys
import textwrap
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import tyro

from agents.settings.flat import to_flat
from agents.settings.run import TrainSettings
from agents.training.agent_spec import AgentSpec

COMMON = ("game", "env", "norm", "steps", "seed", "preset", "num_envs", "learning_rate", "device", "run_dir", "resume")
"""What the short help shows, in this order."""
INDENT = 26
_SUPPRESSED = get_args(tyro.conf.Suppress[int])[-1]


class Flag(NamedTuple):
    """A flag as the help shows it."""

    name: str
    """Flat name of its setting."""
    hint: Any
    """Type of the setting."""
    text: str
    """What it means."""
    group: str
    """Heading."""


def wanted(argv: Sequence[str]) -> Literal["", "common", "all"]:
    """Which help is asked for, if any."""
    if "--help-all" in argv:
        return "all"
    return "common" if {"-h", "--help"} & set(argv) else ""


def help_of_training(
    spec: AgentSpec,
    description: str,
    which: Literal["common", "all"],
    flags: Mapping[str, str],
    base: TrainSettings[Any],
) -> str:
    """The help of the command that trains an agent.

    Args:
        spec: of the agent.
        description: one line.
        which: the common flags, or all.
        flags: those that are given, as text by name.
        base: settings with the defaults that these flags give.
    """
    others: Mapping[str, Any] = {}
    run = flags.get("resume") or flags.get("config")
    if run:
        remark = f"Defaults: those of {run}."
    elif "env" in flags:
        remark = f"Defaults: preset {base.run.preset} on vectors; on images they are closer to those of games."
    elif "game" in flags:
        remark = f"Defaults: preset {base.run.preset} on Atari games."
    else:
        remark = (
            "Add --game or --env, --preset and --norm to see the defaults of the command that you are about to run."
        )
        with contextlib.suppress(ValueError):  # a preset for games alone
            others = to_flat(spec.defaults(flags, observation="vector"))
    kind = TrainSettings[spec.settings]  # type: ignore[name-defined]
    return help_text(kind, description, which, to_flat(base), others, remark=remark)


def help_text(
    kind: Any,
    description: str,
    which: Literal["common", "all"],
    defaults: Mapping[str, Any],
    others: Mapping[str, Any] = {},
    *,
    remark: str = "",
    columns: int | None = None,
) -> str:
    """The help.

    Args:
        kind: the dataclass of the settings; the docstrings of its nested dataclasses are headings.
        description: one line.
        which: the common flags, or all of them in groups.
        defaults: by flat name.
        others: defaults for tasks of another kind, where nothing says which of them is meant.
        remark: a line on the defaults.
        columns: width of a line; by default that of the terminal, up to 100.
    """
    columns = min(shutil.get_terminal_size().columns, 100) if columns is None else columns
    flags = list(flags_of(kind))
    by_name = {flag.name: flag for flag in flags}
    common = [by_name[name] for name in COMMON if name in by_name]
    groups = {"The most used flags": common} if common else {}
    if which == "all":
        for flag in flags:
            if flag not in common:
                groups.setdefault(flag.group, []).append(flag)
    lines = [f"usage: {Path(sys.argv[0]).name} [-h] [--help-all] --game NAME | --env ID [flags]", ""]
    lines += textwrap.wrap(description, columns)
    for heading, members in groups.items():
        lines += ["", *textwrap.wrap(f"{heading}:", columns)]
        for flag in members:
            default = default_text(flag.name, defaults, others)
            lines += _entry(flag, f" (default: {default})" if default else "", columns)
    lines += ["", "Help:", *_row("-h, --help", "Show the flags that most runs need.", columns)]
    lines += _row("--help-all", f"Show all {len(flags)} flags, in groups.", columns)
    return "\n".join([*lines, *(["", *textwrap.wrap(remark, columns)] if remark else [])])


def flags_of(kind: Any) -> Iterator[Flag]:
    """The flags of a dataclass and of those that it nests, which may be `Generic[…]`."""
    origin = get_origin(kind) or kind
    group = (inspect.getdoc(origin) or origin.__name__).splitlines()[0].rstrip(".")
    hints = get_type_hints(origin, include_extras=True)
    bound = dict(zip(getattr(origin, "__parameters__", ()), get_args(kind), strict=False))
    texts = documented(origin)
    for field in fields(origin):
        hint = bound.get(hints[field.name], hints[field.name])
        if _SUPPRESSED in _extras(hint):
            continue
        if is_dataclass(hint):
            yield from flags_of(hint)
        else:
            own = [extra.help for extra in _extras(hint) if getattr(extra, "help", None)]
            yield Flag(field.name, hint, own[0] if own else texts.get(field.name, ""), group)


def documented(kind: type) -> dict[str, str]:
    """The docstrings of a class's attributes, its base classes' included."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if is_dataclass(base):
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body  # type: ignore[attr-defined]
            texts |= dict(_pairs(body))
    return texts


def _pairs(body: Iterable[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, after in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            yield field.target.id, " ".join(str(after.value.value).split())


def metavar(hint: Any) -> str:
    """What a flag takes: `INT`, `{a,b}`, `INT|None`; empty for a flag that has a `--no-` form."""
    extras, hint = _extras(hint), get_args(hint)[0] if get_origin(hint) is Annotated else hint
    origin, arguments = get_origin(hint), get_args(hint)
    if bool in arguments:
        return ""
    for extra in extras:
        if getattr(extra, "metavar", None):
            return f"{extra.metavar}{' ...' if origin is tuple else ''}"
    if origin is Literal:
        return f"{{{','.join(map(str, arguments))}}}"
    if origin is tuple:
        return f"{metavar(arguments[0])} ..."
    if origin in (Union, types.UnionType):
        return "|".join("None" if part is types.NoneType else metavar(part) for part in arguments)
    return {bool: "", int: "INT", float: "FLOAT", str: "NAME", Path: "PATH"}[hint]


def _extras(hint: Any) -> tuple[Any, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def default_text(name: str, defaults: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """The default of a flag in words; empty where there is none. Arguments as in `help_text`."""
    value = defaults.get(name)
    if name in others and others[name] != value:
        return f"{_shown(value)} with --game, {_shown(others[name])} with --env"
    return "" if value is None or value == () else _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return " ".join(map(_shown, value))
    return f"{value:_}" if isinstance(value, int) and value >= 10_000 else str(value)


def _entry(flag: Flag, default: str, columns: int) -> list[str]:
    name, takes = flag.name.replace("_", "-"), metavar(flag.hint)
    return _row(f"--{name} {takes}" if takes else f"--{name}, --no-{name}", flag.text + default, columns)


def _row(left: str, text: str, columns: int) -> list[str]:
    wrapped = textwrap.wrap(text, max(columns - INDENT, 20), break_on_hyphens=False) or [""]
    if len(left) > INDENT - 4:
        return [f"  {left}", *(" " * INDENT + line for line in wrapped)]
    return [f"  {left:{INDENT - 2}}{wrapped[0]}", *(" " * INDENT + line for line in wrapped[1:])]
