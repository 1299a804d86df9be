"""Text on a stream whose encoding lacks some characters, such as ASCII."""

from __future__ import annotations

import codecs
import sys
import unicodedata
from typing import IO

from agents.runtime.lasting_output import keep_output_going

_REPLACED = {
    **{
        "±": "+/-",
        "−": "-",
        "–": "-",
        "—": "-",
        "→": "->",
        "≥": ">=",
        "≤": "<=",
        "×": "x",
        "·": "*",
        "…": "...",
        "‖": "||",
    },
    **{"α": "alpha", "β": "beta", "γ": "gamma", "ε": "epsilon", "λ": "lambda", "π": "pi", "τ": "tau", "√": "sqrt "},
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼", "+"),
    **dict.fromkeys("─━═", "-"),
    **dict.fromkeys("│┃║", "|"),
    **{"“": '"', "”": '"', "‘": "'", "’": "'", "•": "*", "\xa0": " "},
}
"""What stands for a character that an encoding lacks."""
_ERRORS = "wnrl.readable"


def _readable(error: UnicodeError) -> tuple[str, int]:
    """As a handler of `codecs`: replace what cannot be encoded, an accented letter by the letter, and the rest by ?."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    replaced = (_REPLACED.get(char) or _plain_letter(char) for char in error.object[error.start : error.end])
    return "".join(replaced), error.end


def _plain_letter(char: str) -> str:
    letter = unicodedata.normalize("NFKD", char)[0]
    return letter if letter.isascii() else "?"


codecs.register_error(_ERRORS, _readable)


def readable(text: str, stream: IO[str]) -> str:
    """The text with those characters replaced that the stream's encoding lacks: ± by +/-, ε by epsilon, and so on."""
    encoding = getattr(stream, "encoding", None) or "utf-8"  # a stream in memory has none
    return text.encode(encoding, _ERRORS).decode(encoding)


def make_output_safe() -> None:
    """Let nothing that is printed from now on fail: it loses what the encoding of stdout or stderr lacks, and what can
    no longer be written, see `agents.runtime.lasting_output`."""
    keep_output_going()
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and stream.errors in ("strict", "backslashreplace"):
            reconfigure(errors=_ERRORS)
