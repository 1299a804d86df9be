"""Settings that are given in Python, by flat name: the checks that a command line has for its flags."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from agents.settings.flat import flat_types
from agents.settings.nearest import nearest_setting

P = ParamSpec("P")
R = TypeVar("R")


def checked_keywords(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the fields of the dataclass `kind` have them: whole numbers, shares, tuples and so on.

    Args:
        kind: a dataclass, nested or not.
        values: by flat name.

    Raises:
        TypeError: a name that is no setting (the message has the nearest one), or a value of the wrong type.
        ValueError: a value that is none of the choices.
    """
    hints = flat_types(kind)
    for name in values:
        if name not in hints:
            near = nearest_setting(name, hints)
            raise TypeError(f"there is no setting {name!r}" + (f": did you mean {near!r}?" if near else ""))
    return {name: converted(name, value, hints[name]) for name, value in values.items()}


def named_arguments(method: Callable[P, R]) -> Callable[P, R]:
    """A method whose TypeError for a wrong keyword names the argument that is meant, as `checked_keywords` does."""
    names = [name for name in inspect.signature(method).parameters if name != "self"]

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in names:
                near = nearest_setting(name, names)
                meant = f"did you mean {method.__name__}({near}=...)?" if near else f"it takes {', '.join(names)}"
                raise TypeError(f"{method.__name__}() has no argument {name!r}: {meant}")
        return method(*args, **kwargs)

    return call


def as_flags(values: Mapping[str, Any]) -> dict[str, str]:
    """The flags of a command line that gives these values: what presets look at."""
    flags: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, bool):
            flags[name if value else f"no_{name}"] = ""
        else:
            flags[name] = str(value)
    return flags


def converted(name: str, value: Any, hint: Any) -> Any:
    """The value as that type has it; errors as those of `checked_keywords`."""
    for choice in _choices(hint):
        if choice is Any:
            return value
        if get_origin(choice) is Literal:
            if value in get_args(choice):
                return value
        elif get_origin(choice) is tuple:
            if isinstance(value, Mapping):  # env_kwargs
                return value
            if isinstance(value, (tuple, list)):
                return tuple(converted(name, item, get_args(choice)[0]) for item in value)
        elif choice is type(None):
            if value is None:
                return None
        elif choice is bool:
            if isinstance(value, bool):
                return value
        elif choice is int:
            if isinstance(value, Integral) and not isinstance(value, bool):
                return int(value)
            if isinstance(value, float) and value.is_integer():  # 1e6
                return int(value)
        elif choice is float:
            if isinstance(value, Real) and not isinstance(value, bool):
                return float(value)
        elif choice is Path:
            if isinstance(value, (str, Path)):
                return Path(value)
        elif isinstance(value, choice):
            return value
    words = [option for choice in _choices(hint) if get_origin(choice) is Literal for option in get_args(choice)]
    if words:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, words))}, got {value!r}")
    names = " or ".join(_in_words(choice) for choice in _choices(hint))
    raise TypeError(f"{name} must be {names}, got {value!r}")


def _in_words(choice: Any) -> str:
    """A type for a message: int, or tuple of int."""
    if get_origin(choice) is tuple:
        return f"tuple of {_in_words(get_args(choice)[0])}"
    return getattr(choice, "__name__", str(choice))


def _choices(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type."""
    if get_origin(hint) is Annotated:
        return _choices(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(choice for part in get_args(hint) for choice in _choices(part))
    return (hint,)
