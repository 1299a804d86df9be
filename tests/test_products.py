"""tests.products: every row is there, and the fast ones have every value, or every pair."""

import itertools

import pytest

from tests.products import covering, mostly_slow

AXES = ["abc", "defgh", [True, False]]


def fast(rows):
    return [row.values for row in rows if not row.marks]


@pytest.mark.parametrize(("strength", "most"), [(1, 5), (2, 17), (3, 30)])
def test_fast_rows_have_every_combination_of_so_many_axes(strength, most):
    rows = covering(*AXES, strength=strength)
    assert [row.values for row in rows] == list(itertools.product(*AXES))
    for axes in itertools.combinations(range(3), strength):
        assert {tuple(row[i] for i in axes) for row in fast(rows)} == set(itertools.product(*(AXES[i] for i in axes)))
    assert len(fast(rows)) <= most


def test_values_that_are_named_or_the_first_are_fast():
    assert fast(mostly_slow("abc")) == [("a",)]
    assert fast(mostly_slow("abc", "b", "c")) == [("b",), ("c",)]
    assert [row.values for row in mostly_slow("abc")] == [("a",), ("b",), ("c",)]
