"""Nested settings under flat names: command lines, presets and `config.json` are flat.

No two fields of a tree of settings have the same name, so that a flat name is one field.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

Settings = TypeVar("Settings")
PYTHON = "python:"
"""Of the names of what is given in Python, and has to be given again where the run is loaded."""
OF_A_COMMAND = ("trust",)
"""Settings of one command alone: no file keeps them, and none is read from one."""


def from_flat(kind: type[Settings], values: Mapping[str, Any] = {}, /, **more: Any) -> Settings:
    """An instance of the dataclass `kind`, whose nested dataclasses get the values of their own fields.

    Args:
        kind: a dataclass.
        values: by flat name; a field that is not there has the default that it has within `kind`.
        more: further values.

    Raises:
        ValueError: a name that is no field, or as the dataclasses do.
    """
    values = {**values, **more}
    if unknown := sorted(values.keys() - flat_defaults(kind).keys()):
        raise ValueError(f"{kind.__name__} has no {', '.join(unknown)}")
    return cast(Settings, _built(kind, values, None))


def replace(settings: Settings, **changes: Any) -> Settings:
    """A copy with other values of these fields, at any depth; raises as `from_flat`."""
    if unknown := sorted(changes.keys() - to_flat(settings).keys()):
        raise ValueError(f"{type(settings).__name__} has no {', '.join(unknown)}")
    return cast(Settings, _replaced(settings, changes))


def to_flat(settings: Any) -> dict[str, Any]:
    """All values by flat name."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        flat |= to_flat(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return flat


def to_json(settings: Any) -> dict[str, Any]:
    """All values by flat name but those of a command alone, as JSON holds them."""
    return {name: _plain(value) for name, value in to_flat(settings).items() if name not in OF_A_COMMAND}


def flat_defaults(kind: Any) -> dict[str, Any]:
    """The defaults of all fields by flat name, without making an instance."""
    return dict(_defaults(kind, None))


def flat_types(kind: Any) -> dict[str, Any]:
    """The types of all fields by flat name."""
    flat: dict[str, Any] = {}
    for field, nested, _ in _fields(kind, None):
        flat |= flat_types(nested) if nested else {field: _hints(get_origin(kind) or kind)[field]}
    return flat


def names_of_types(kind: Any, wanted: Callable[[set[Any]], bool]) -> set[str]:
    """The flat names of the fields whose types are wanted; none where `kind` is no dataclass.

    Args:
        kind: a dataclass, or anything else.
        wanted: called with the types that a field takes: itself, the parts of a union, the items of a tuple.
    """
    if not dataclasses.is_dataclass(get_origin(kind) or kind):
        return set()
    return {name for name, hint in flat_types(kind).items() if wanted(_choices(hint))}


def _choices(hint: Any) -> set[Any]:
    if get_origin(hint) is Annotated:
        return _choices(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType, tuple):
        return {choice for part in get_args(hint) for choice in _choices(part)}
    return {hint}


def _defaults(kind: Any, own: Any) -> dict[str, Any]:
    """Of a dataclass; `own` is the instance that its owner has as the default, if there is one."""
    flat: dict[str, Any] = {}
    for field, nested, default in _fields(kind, own):
        flat |= _defaults(nested, default) if nested else {field: default}
    return flat


def _replaced(settings: Any, changes: Mapping[str, Any]) -> Any:
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    return type(settings)(
        **{
            name: _replaced(value, changes) if dataclasses.is_dataclass(value) else changes.get(name, value)
            for name, value in values.items()
        }
    )


def _built(kind: Any, values: Mapping[str, Any], own: Any) -> Any:
    return (get_origin(kind) or kind)(
        **{
            field: _built(nested, values, default) if nested else values.get(field, default)
            for field, nested, default in _fields(kind, own)
        }
    )


def _fields(kind: Any, own: Any) -> list[tuple[str, Any, Any]]:
    """Name, nested dataclass (or None) and default of each field of a dataclass, which may be a `Generic[…]`."""
    origin = get_origin(kind) or kind
    given = dict(zip(getattr(origin, "__parameters__", ()), get_args(kind), strict=True)) if origin is not kind else {}
    hints = _hints(origin)
    found = []
    for field in dataclasses.fields(origin):
        default = getattr(own, field.name) if own is not None else field.default
        hint = given.get(hints[field.name], hints[field.name])
        nested = hint if dataclasses.is_dataclass(hint) else None
        found.append((field.name, nested, None if default is dataclasses.MISSING else default))
    return found


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """The types of a class's attributes; not to be changed."""
    return get_type_hints(kind)


def python_name(made: Any) -> str:
    """The name of what was made in Python, or of what makes it, as settings have it: `python:Maze`."""
    if isinstance(made, str):  # from config.json
        return made
    named = made.func if isinstance(made, functools.partial) else made
    return PYTHON + str(getattr(named, "__name__", type(named).__name__)).strip("<>")


def not_given(name: str, what: str, keyword: str) -> ValueError:
    """What to raise where something that was made in Python is not given again.

    Args:
        name: of `python_name`.
        what: it is, `an environment` for example.
        keyword: of `agents.load` that takes it.
    """
    name = name.removeprefix(PYTHON)
    return ValueError(f"{name} is {what} made in Python: give it, as in agents.load(RUN, {keyword}={name})")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if callable(value):
        return python_name(value)
    return list(value) if isinstance(value, tuple) else value
