"""wnrl.weight_norm.units: lengths in the units of g, and back."""

import math
from typing import get_args

import pytest
import torch

from wnrl.weight_norm.units import Units, check_units, convert_g, g_of_lengths, gain_of_g, unit_scale

LENGTHS = torch.tensor([0.5, 2.0, 30.0], dtype=torch.float64)
BY_ROW = torch.ones(3, 4, 2, 2)  # rows of 16 weights


@pytest.mark.parametrize(
    ("units", "expected"),
    [("paper", [0.5, 2.0, 30.0]), ("sqrt", [0.125, 0.5, 7.5]), ("log", [math.log(0.5), math.log(2), math.log(30)])],
)
def test_g_of_rows_by_hand(units, expected):
    g = g_of_lengths(LENGTHS, units, unit_scale(BY_ROW, units))
    torch.testing.assert_close(g, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("units", get_args(Units))
def test_the_scale_times_the_gain_is_the_length(units):
    scale = unit_scale(BY_ROW, units)
    torch.testing.assert_close(scale * gain_of_g(g_of_lengths(LENGTHS, units, scale), units), LENGTHS)


@pytest.mark.parametrize("units", get_args(Units))
@pytest.mark.parametrize("new_units", get_args(Units))
def test_converted_lengths_stay_the_same(units, new_units):
    scale, new_scale = (unit_scale(BY_ROW, name) for name in (units, new_units))
    g = g_of_lengths(LENGTHS, units, scale)
    converted = convert_g(g, scale, units, new_units, new_scale)
    torch.testing.assert_close(new_scale * gain_of_g(converted, new_units), LENGTHS)
    assert torch.equal(converted, g) == (units == new_units)


@pytest.mark.parametrize("units", ["paper", "sqrt"])
def test_a_length_of_zero_has_a_g(units):
    assert g_of_lengths(torch.zeros(2), units, 3.0).tolist() == [0.0, 0.0]


def test_rows_without_weights_have_a_g():
    scale = unit_scale(torch.ones(3, 0), "sqrt")
    assert g_of_lengths(torch.zeros(3), "sqrt", scale).tolist() == [0.0] * 3  # not NaN


@pytest.mark.parametrize("length", [0.0, -1.0])
def test_a_row_without_a_logarithm_is_refused(length):
    lengths = torch.tensor([1.0, length])
    with pytest.raises(ValueError, match='would never learn in units="log"'):
        g_of_lengths(lengths, "log", 1.0)
    with pytest.raises(ValueError, match='would never learn in units="log"'):
        convert_g(lengths, 1.0, "paper", "log", 1.0)
    assert g_of_lengths(lengths.to("meta"), "log", 1.0).is_meta  # whose values nobody knows


def test_unknown_units_are_refused_with_the_known_ones():
    for units in get_args(Units):
        check_units(units)
    with pytest.raises(ValueError, match=r"\('paper', 'sqrt', 'log'\), got 'auto'"):
        check_units("auto")
