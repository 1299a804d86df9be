"""Sweeps in TOML files: the flags of the command by name, `[axes]`, and `[[override]]` for some of the trials."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from agents.sweeps.plan import Override

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class SweepFile(NamedTuple):
    """What a file says."""

    flags: dict[str, Any]
    axes: dict[str, tuple[Any, ...]]
    overrides: tuple[Override, ...]


def read_sweep_file(path: Path, known: Collection[str]) -> SweepFile:
    """The sweep in a file.

    Args:
        path: of the file.
        known: the flags that it may set, by name.

    Raises:
        ValueError: it cannot be read, or has what no sweep has; the line is named.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        table = tomllib.loads(text)
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {path}: check the path") from error
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    flags = {name: value for name, value in table.items() if name not in ("axes", "override")}
    for name in flags:
        if name not in known:
            near = difflib.get_close_matches(name, [*known, "axes", "override"], 1)
            hint = f"did you mean {near[0]}?" if near else "settings of the runs belong under [axes] or [[override]]"
            raise ValueError(f"{path}{_line(text, name)}: there is no {name!r}: {hint}")
    axes = table.get("axes", {})
    if not isinstance(axes, Mapping):
        raise ValueError(f"{path}{_line(text, 'axes')}: axes must be a table: [axes], and a line for each setting")
    overrides = table.get("override", [])
    if not isinstance(overrides, list) or not all(isinstance(one, Mapping) for one in overrides):
        raise ValueError(f"{path}{_line(text, 'override')}: overrides must be tables, each begun by [[override]]")
    made = tuple(_override(path, text, number, entries) for number, entries in enumerate(overrides))
    return SweepFile(_checked(path, text, flags), {name: _values(value) for name, value in axes.items()}, made)


def _override(path: Path, text: str, number: int, entries: Mapping[str, Any]) -> Override:
    """The override of that number, from 0 on."""
    try:
        return Override.of(entries)
    except ValueError as error:
        heads = [line for line, words in enumerate(text.splitlines(), 1) if _OVERRIDE.match(words)]
        line = f":{heads[number]}" if number < len(heads) else _line(text, "override")
        raise ValueError(f"{path}{line}: {error}") from error


_OVERRIDE = re.compile(r"""\s*\[\[\s*["']?override["']?\s*\]\]""")


def _checked(path: Path, text: str, flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags, with lists as tuples."""
    for name, value in flags.items():
        if isinstance(value, Mapping) or (
            isinstance(value, list) and any(isinstance(one, (list, dict)) for one in value)
        ):
            raise ValueError(f"{path}{_line(text, name)}: {name} must be a value or a list of values")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in flags.items()}


def _values(value: Any) -> tuple[Any, ...]:
    """The values of an axis; a list in the list is one value that has several words."""
    values = value if isinstance(value, list) else [value]
    return tuple(tuple(one) if isinstance(one, list) else one for one in values)


def _line(text: str, name: str) -> str:
    """`:3` where the third line begins with that name."""
    pattern = re.compile(rf"""\s*\[*\s*["']?{re.escape(name)}\b""")
    lines = (number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line))
    return next((f":{number}" for number in lines), "")


def toml_of(overrides: Collection[Override]) -> str:
    """The overrides as a file has them."""
    tables = []
    for override in overrides:
        entries = {name: list(values) if len(values) > 1 else values[0] for name, values in override.where.items()}
        lines = [f"{name} = {_toml(value)}" for name, value in {**entries, **override.settings}.items()]
        tables.append("\n".join(["[[override]]", *lines]) + "\n")
    return "\n".join(tables)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, (int, float)):
        return repr(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
