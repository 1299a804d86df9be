"""One colour and marker for each normalizer, in every figure."""

from __future__ import annotations

from typing import NamedTuple


class Style(NamedTuple):
    """How a normalizer is drawn, on light and dark grounds alike."""

    colour: str
    marker: str


STYLES = {
    "none": Style("#666666", "o"),
    "weight": Style("#0072b2", "s"),
    "mean-batch": Style("#d55e00", "^"),
    "batch": Style("#009e73", "D"),
    "layer": Style("#cc79a7", "v"),
    "projected": Style("#e69f00", "P"),
    "layer+projected": Style("#56b4e9", "X"),
    "layer-channels": Style("#8a4fbf", "<"),
    "batch+projected": Style("#7fa800", ">"),
    "spectral": Style("#8c564b", "*"),
    "weight-clip": Style("#17a2a2", "p"),
}
"""The first seven can be told apart by the colour-blind (Okabe and Ito 2008), the others by their markers too."""
OTHER = Style("#a0a0a0", "h")
"""Of a normalizer that is not in the table."""


def style_of(norm: str) -> Style:
    """The style of a normalizer by name."""
    return STYLES.get(norm, OTHER)
