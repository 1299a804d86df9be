"""Products of parameters, of which few rows are fast and the rest is slow."""

import itertools

import pytest


def covering(*axes, strength=1):
    """All rows of the product of `axes` for `parametrize`: slow, except for rows in which each combination of values of
    each `strength` axes is there at least once."""
    axes = [list(axis) for axis in axes]
    rows = list(itertools.product(*(range(len(axis)) for axis in axes)))
    places = list(itertools.combinations(range(len(axes)), strength))
    held = {row: {(place, tuple(row[i] for i in place)) for place in places} for row in rows}
    missing, fast = set().union(*held.values()), set()
    while missing:
        best = max(rows, key=lambda row: len(held[row] & missing))
        fast.add(best)
        missing -= held[best]
    return [
        pytest.param(*values, marks=[] if row in fast else pytest.mark.slow)
        for row, values in zip(rows, itertools.product(*axes), strict=True)
    ]


def mostly_slow(values, *fast):
    """The values for `parametrize`: slow, except for those in `fast`, the first by default."""
    values = list(values)
    assert not any(hasattr(value, "marks") for value in values), "give values, not pytest.param"
    fast = fast or values[:1]
    return [pytest.param(value, marks=[] if value in fast else pytest.mark.slow) for value in values]
