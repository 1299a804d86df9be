"""What tyro complains about, in one line that says what to do."""

from __future__ import annotations

import ast
import difflib
import itertools
import re
import types
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from agents.settings.flat import flat_types
from agents.settings.nearest import nearest_setting
from agents.settings.network import NORMS


def one_line(text: str, argv: Sequence[str], kind: Any) -> str:
    """A message of tyro, which has a box around a title, sentences, a rule and a hint, as one line.

    Args:
        text: as tyro prints it.
        argv: the arguments.
        kind: the dataclass whose fields are the flags, or anything else.
    """
    lines = [line.strip("│╭╮╰╯─ ") for line in text.splitlines()[1:]]
    said = itertools.takewhile(lambda line: not line.startswith(("For full helptext", "Argument helptext")), lines)
    text = " ".join(line for line in said if line.strip("-"))
    text = re.sub(r"^Error parsing [A-Za-z][\w.-]*: ", "", text)  # the dataclass; a flag's name stays
    hints = flat_types(kind) if is_dataclass(get_origin(kind) or kind) else {}
    for pattern, explain in _KINDS.items():
        if found := re.match(pattern, text):
            return explain(found, argv, hints) or text
    return text


def _unknown(found: re.Match[str], argv: Sequence[str], hints: dict[str, Any]) -> str | None:
    """A flag that does not exist, or a value that nothing takes."""
    given = found[1].split(", ")[0].split(" ")[0].partition("=")[0]
    if not given.startswith("-") and not hints:  # subcommands, which tyro lists
        return None
    if not given.startswith("-"):
        before = next((one for one, after in itertools.pairwise(argv) if after == given), "")
        if hints.get(_name(before).removeprefix("no_")) is bool:
            flag = _name(before).removeprefix("no_").replace("_", "-")
            return f"{before} takes no value, got {given}: give --{flag} or --no-{flag}"
        task = "" if before or {"--game", "--env"} & {*argv} else ": name the task by --env or --game"
        return f"nothing takes {given!r}" + (f" after {before}" if before else task)
    off = "no_" if _name(given).startswith("no_") else ""
    near = nearest_setting(_name(given).removeprefix(off), hints) if hints else None
    if near is None:
        return f"there is no flag {given}: --help lists them all"
    off = off if hints[near] is bool else ""
    return f"there is no flag {given}: did you mean --{(off + near).replace('_', '-')}?"


def _no_value(found: re.Match[str], argv: Sequence[str], hints: dict[str, Any]) -> str | None:
    """A flag at the end, or before another flag."""
    choices = NORMS if found[1] == "--norm" else _choices(hints.get(_name(found[1])))
    return f"{found[1]} needs a value" + (f": {_either(choices)}" if choices else "")


def _no_choice(found: re.Match[str], argv: Sequence[str], hints: dict[str, Any]) -> str | None:
    """None of the words that a flag takes."""
    given, choices = found[1], re.findall(r"'([^']*)'", found[3])
    near = difflib.get_close_matches(given, choices, 1)
    meant = f": did you mean {near[0]}?" if near else ""
    return f"{found[2]} takes {_either(choices)}, got {given!r}{meant}" if choices else None


def _no_whole_number(found: re.Match[str], argv: Sequence[str], hints: dict[str, Any]) -> str | None:
    return f"{found[1]} takes a whole number (1000000, 1e6 or 1M), got {found[2]}"


def _no_number(found: re.Match[str], argv: Sequence[str], hints: dict[str, Any]) -> str | None:
    return f"{found[1]} takes a number, got {found[2]}"


def _no_list(found: re.Match[str], argv: Sequence[str], hints: dict[str, Any]) -> str | None:
    """Numbers that are not apart, or no numbers."""
    flag, given = found[1], " ".join(ast.literal_eval(found[2]))
    kind = "whole numbers" if int in _kinds(hints.get(_name(flag))) else "numbers"
    separate = re.fullmatch(r"[(\[]? *([\d.]+(?:[,;:x ]+[\d.]+)*)[, ]*[)\]]?", given)
    numbers = re.findall(r"[\d.]+", separate[1]) if separate else []
    example = f"{flag} {' '.join(numbers)}" if len(numbers) > 1 else f"{flag} 64 64, for example"
    return f"{flag} takes {kind} with spaces between them ({example}), got {given!r}"


def _no_number_or_none(found: re.Match[str], argv: Sequence[str], hints: dict[str, Any]) -> str | None:
    kind = {"INT": "a whole number (1000000, 1e6 or 1M)", "FLOAT": "a number"}[found[2]]
    return f"{found[1]} takes {kind} or None, got {found[3]}"


def _missing(found: re.Match[str], argv: Sequence[str], hints: dict[str, Any]) -> str | None:
    """An argument without a flag, with its help."""
    return f"name {found[1]}: {found[2][0].lower()}{found[2][1:]}"


def _no_subcommand(found: re.Match[str], argv: Sequence[str], hints: dict[str, Any]) -> str | None:
    """None of the subcommands, or a word that is none of them."""
    return (f"there is no {found[1]}: " if found[1] else "") + f"name one of {_either(found[2].split(', '))}"


_KINDS = {
    r"Missing from .*: ([A-Z_]+) (.*?)\.? \(required\)$": _missing,
    r"(?:Unrecognized options: (\w\S*) .*Available subcommands: |Expected one of {)(.*, .*?)(?:}\.)?$": _no_subcommand,
    r"Unrecognized options: (.*)": _unknown,
    r"Missing value for argument '(--[\w-]+)'": _no_value,
    r"invalid choice '([^']*)' for argument '(--[\w-]+)'\. Expected one of (.*)": _no_choice,
    r"Error parsing (--[\w-]+): invalid literal for int\(\) with base 10: ('.*')": _no_whole_number,
    r"Error parsing (--[\w-]+): could not convert string to float: ('.*')": _no_number,
    r"Error parsing (--[\w-]+): Could not find valid parse for arguments: (\[.*\])": _no_list,
    r"Error parsing (--[\w-]+): no type matching {None}\|(INT|FLOAT) could be instantiated from \[('[^']*')\]": (
        _no_number_or_none
    ),
}
"""Beginnings of tyro's messages, and what says it instead; that may return None to leave it."""


def _either(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _name(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def _kinds(hint: Any) -> tuple[Any, ...]:
    """What the items of a tuple are."""
    return _kinds(get_args(hint)[0]) if get_origin(hint) is Annotated else get_args(hint)


def _choices(hint: Any) -> list[str]:
    """The words that a field takes; none where it takes others too."""
    if get_origin(hint) is Annotated:
        return _choices(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return [str(word) for word in get_args(hint)]
    if get_origin(hint) in (Union, types.UnionType):
        parts = [_choices(part) for part in get_args(hint)]
        return [word for part in parts for word in part] if all(parts) else []
    return []
