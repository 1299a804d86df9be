"""The values of presets with the comments that stand beside them in the code, as rows of tables."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from agents.commands.help import default_text

FOLDER = "agents.settings.presets"


class Row(NamedTuple):
    """A value of a preset."""

    flag: str
    """As on the command line, without dashes before it."""
    value: str
    """As the help shows it."""
    source: str
    """The comment beside it; empty where that of the preset holds."""


class Preset(NamedTuple):
    """A preset as its file has it."""

    source: str
    """The comment above it."""
    bases: tuple[str, ...]
    """Constants of presets whose other values it has."""
    without: tuple[str, ...]
    """Flags of which these have a value and it has none."""
    rows: tuple[Row, ...]
    """Its own values."""


def constants(module: str) -> list[str]:
    """The names of the presets that a module of `agents.settings.presets` defines."""
    return list(_definitions(_source_of(module)))


def preset(module: str, constant: str) -> Preset:
    """The preset that a module of `agents.settings.presets` defines under that name.

    Raises:
        KeyError: it defines none.
    """
    source = _source_of(module)
    definition, comments = _definitions(source)[constant], _comments(source)
    found = importlib.import_module(f"{FOLDER}.{module}")
    values = getattr(found, constant)
    above = _above(source.splitlines(), comments, definition.lineno)
    assert isinstance(definition.value, ast.Dict)
    bases = _bases(definition.value)
    known = [name for base in bases for name in getattr(found, base) if name not in values]
    rows = tuple(_rows(definition.value, values, comments))
    return Preset(above, bases, tuple(map(_flag, dict.fromkeys(known))), rows)


def _source_of(module: str) -> str:
    return inspect.getsource(importlib.import_module(f"{FOLDER}.{module}"))


def _definitions(source: str) -> dict[str, ast.AnnAssign]:
    """The assignments `NAME: Values = {…}`, by name."""
    found = (node for node in ast.parse(source).body if isinstance(node, ast.AnnAssign))
    return {ast.unparse(node.target): node for node in found if isinstance(node.value, ast.Dict) and _is_values(node)}


def _is_values(node: ast.AnnAssign) -> bool:
    return ast.unparse(node.annotation) == "Values"


def _comments(source: str) -> dict[int, str]:
    """The comments by line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def _above(lines: Sequence[str], comments: Mapping[int, str], number: int) -> str:
    """The comments in the block of lines above line `number`."""
    first = number
    while first > 1 and lines[first - 2].strip():
        first -= 1
    return " ".join(comments[at] for at in range(first, number) if at in comments)


def _bases(literal: ast.Dict) -> tuple[str, ...]:
    """The constants that the dictionary takes values from: names in capitals behind `**`."""
    taken = (value for key, value in zip(literal.keys, literal.values, strict=True) if key is None)
    names = (part.id for value in taken for part in ast.walk(value) if isinstance(part, ast.Name))
    return tuple(dict.fromkeys(name for name in names if name.isupper()))


def _rows(literal: ast.Dict, values: Mapping[str, object], comments: Mapping[int, str]) -> Iterator[Row]:
    end = literal.lineno
    for key, value in zip(literal.keys, literal.values, strict=True):
        last = value.end_lineno or end
        block = " ".join(comments[at] for at in range(end + 1, last) if at in comments)
        source, end = "; ".join(filter(None, (block, comments.get(last, "")))), last
        if isinstance(key, ast.Constant):
            shown = default_text(key.value, values, {}) or "none"
            yield Row(_flag(key.value), shown, source)


def _flag(name: str) -> str:
    return name.replace("_", "-")
