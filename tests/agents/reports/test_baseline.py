"""agents.reports.baseline"""

import pytest

from agents.reports.baseline import Baseline, baseline_of
from agents.reports.curves import Method

METHODS = [
    Method("ppo", norm, (("units", units), ("learning_rate", "0.001")))
    for norm in ("none", "weight")
    for units in ("sqrt", "paper")
]


def test_a_normalizer():
    assert baseline_of(METHODS, "weight") == Baseline("weight")
    assert Baseline("weight").of(METHODS[0]) == METHODS[2]
    assert str(Baseline("weight")) == "weight"


def test_none_is_the_baseline_even_where_it_is_not():
    assert baseline_of(METHODS[2:], None) == Baseline("none")


def test_a_value_of_a_setting():
    """Numbers may be spelled in another way, and dashes stand for underscores."""
    baseline = baseline_of(METHODS, "units=paper")
    assert [baseline.of(method) for method in METHODS] == [METHODS[1], METHODS[1], METHODS[3], METHODS[3]]
    assert str(baseline) == "units paper"
    assert baseline_of(METHODS, "learning-rate=1e-3") == Baseline("0.001", "learning_rate")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("layer", "no run has the normalizer layer: --baseline takes none, weight, or SETTING=VALUE"),
        ("units=log", "no run has units log: --baseline takes units=sqrt, units=paper"),
        ("gamma=0.9", "--baseline gamma=0.9 needs --by gamma, which draws a curve for each of its values"),
    ],
)
def test_what_no_run_has(wanted, message):
    with pytest.raises(ValueError, match=message):
        baseline_of(METHODS, wanted)
