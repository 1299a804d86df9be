"""Flags that are on, off or left to the program: `--compile` and `--no-compile` for `--compile True` and `False`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any, get_args, get_origin

from agents.settings.flat import flat_types

VALUES = ("True", "False", "None")


def with_booleans(argv: Sequence[str], kind: Any) -> list[str]:
    """The arguments, with the value of each bare flag of a `bool | None` written out.

    Args:
        argv: the arguments.
        kind: the dataclass whose fields are the flags; of anything else the arguments stay as they are.
    """
    if not is_dataclass(get_origin(kind) or kind):
        return list(argv)
    flags = {name for name, hint in flat_types(kind).items() if {*get_args(hint)} == {bool, type(None)}}
    written: list[str] = []
    for text, following in zip(argv, [*argv[1:], ""], strict=False):
        name = text[2:].replace("-", "_") if text.startswith("--") else ""
        if name in flags and following not in VALUES:
            written += [text, "True"]
        elif name.removeprefix("no_") in flags and name.startswith("no_"):
            written += ["--" + text.removeprefix("--no-"), "False"]
        else:
            written.append(text)
    return written
