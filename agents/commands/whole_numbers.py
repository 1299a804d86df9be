"""Whole numbers as people write them on a command line: 1e6, 10M, 500k."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from agents.settings.flat import names_of_types

_FORM = re.compile(r"([+-]?[\d_]*\.?\d+(?:e\+?\d{1,3})?)([kmg]?)", re.IGNORECASE)
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def plain_numbers(argv: Sequence[str], kind: Any) -> list[str]:
    """The arguments, with whole numbers written out where a flag takes one.

    Args:
        argv: the arguments.
        kind: the dataclass whose fields are the flags; of anything else the arguments stay as they are.
    """
    return list(_rewritten(argv, names_of_types(kind, lambda types: int in types)))


def whole_number(text: str) -> int | None:
    """1000000 for 1e6, 1M, 1_000_000 and 1000000; None for what is no whole number."""
    form = _FORM.fullmatch(text)
    if form is None or (form[2] and "e" in form[1].lower()):
        return None
    value = Decimal(form[1].replace("_", "")) * _FACTORS[form[2].lower()]
    return int(value) if value == value.to_integral_value() else None


def _rewritten(argv: Sequence[str], whole: set[str]) -> Iterator[str]:
    name = ""
    for text in argv:
        if text.startswith("--"):
            flag, equals, value = text.partition("=")
            name = flag[2:].replace("-", "_")
            yield flag + equals + (_plain(value) if name in whole else value)
        else:
            yield _plain(text) if name in whole else text


def _plain(text: str) -> str:
    value = whole_number(text)
    return text if value is None else str(value)
