"""The units in which a weight-normalized layer stores the lengths g of its rows."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

Units = Literal["paper", "sqrt", "log"]


def check_units(units: str) -> None:
    """Raise ValueError unless `units` are units of g."""
    if units not in get_args(Units):
        raise ValueError(f"units must be one of {get_args(Units)}, got {units!r}")


def unit_scale(by_row: Tensor, units: str) -> float:
    """The unit of g: √n for rows `[out, ...]` of n weights in "sqrt" units, otherwise 1."""
    return math.sqrt(math.prod(by_row.shape[1:])) if units == "sqrt" else 1.0


def gain_of_g(g: Tensor, units: str) -> Tensor:
    """g in units of the scale: g itself, or exp(g) in "log" units."""
    return g.exp() if units == "log" else g


def g_of_lengths(lengths: Tensor, units: str, scale: float) -> Tensor:
    """The inverse of `scale * gain_of_g(g)`: g for these lengths `[out]`.

    Raises:
        ValueError: a length of 0 in "log" units, from which no gradient could ever lead away.
    """
    if units != "log":
        return lengths / scale if scale else torch.zeros_like(lengths)
    if not lengths.is_meta and bool((lengths <= 0).any()):
        raise ValueError('a row of zeros has no logarithm and would never learn in units="log": use "paper" or "sqrt"')
    return lengths.log()


def convert_g(g: Tensor, scale: float, units: str, new_units: str, new_scale: float) -> Tensor:
    """g `[out]` of the same lengths in other units.

    Raises:
        ValueError: as `g_of_lengths`; a negative length in "log" units.
    """
    return g if units == new_units else g_of_lengths(scale * gain_of_g(g, units), new_units, new_scale)
