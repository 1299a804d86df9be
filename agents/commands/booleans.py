"""Flags that are on, off or left to the program: `--compile` and `--no-compile` for `--compile True` and `False`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.settings.flat import names_of_types

VALUES = ("True", "False", "None")


def with_booleans(argv: Sequence[str], kind: Any) -> list[str]:
    """The arguments, with the value of each bare flag of a `bool | None` written out.

    Args:
        argv: the arguments.
        kind: the dataclass whose fields are the flags; of anything else the arguments stay as they are.
    """
    flags = names_of_types(kind, lambda types: types == {bool, type(None)})
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
