"""agents.reports.cells"""

import math

import numpy as np
import pytest

from agents.reports.bootstrap import Estimate
from agents.reports.cells import Interval, interval, plain_names, plain_values, shown, with_interval


@pytest.mark.parametrize(
    ("cell", "text", "plain"),
    [
        (1234567.8, "1,234,568", "1234567.8"),
        (12.3456789012, "12.35", "12.3456789"),
        (-0.5, "-0.5", "-0.5"),
        (math.nan, "–", ""),
        (0, "0", "0"),
        (1500, "1,500", "1500"),
        (None, "–", ""),
        ("not reached", "not reached", "not reached"),
    ],
)
def test_cells(cell, text, plain):
    assert shown(cell) == text
    assert plain_values("steps", cell) == [plain]


def test_intervals():
    name = "95 % interval of the difference"
    assert plain_names(name) == ["95 % low of the difference", "95 % high of the difference"]
    assert plain_values(name, Interval(-1000.5, 2)) == ["-1000.5", "2"]
    assert plain_values(name, None) == ["", ""]
    assert shown(Interval(-1000.5, 2.0)) == "-1,000 to 2"


def test_estimates():
    few = Estimate(np.array(3.0), np.array(np.nan), np.array(np.nan))
    assert interval(few) is None
    assert with_interval(few) == (3, None)
    assert with_interval(Estimate(*map(np.array, (3.0, 1.0, 4.0)))) == (3, (1, 4))
    assert with_interval(None) == (None, None)
