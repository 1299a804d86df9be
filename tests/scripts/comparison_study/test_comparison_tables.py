import numpy as np
import pytest
from comparison_study.comparison import Comparison
from comparison_study.comparison_tables import (
    comparison_table,
    differing,
    number,
    overall,
    overall_table,
    with_interval,
)

from agents.reports.bootstrap import Estimate


def compared(agent, task, none, **others):
    scores = {"none": none, **others}
    return Comparison(agent, task, {norm: dict(enumerate(map(float, values))) for norm, values in scores.items()})


AHEAD = compared("PPO", "A-v1", [1, 2, 3, 4], weight=[11, 12, 13.5, 14], layer=[1, 2, 3, 4])
BEHIND = compared("PPO", "B-v1", [500, 501, 502, 503], weight=[100, 102, 101, 103])
EQUAL = compared("DQN", "A-v1", [-3, 5, -7], weight=[5, -7, -3], layer=[-3, 5, -6])
FEW = compared("A2C", "A-v1", [1, 2], weight=[3, 4], batch=[1, 1])


def test_a_row_for_each_comparison_that_has_the_normalizer():
    assert comparison_table([AHEAD, BEHIND, EQUAL, FEW], "weight").splitlines() == [
        "| agent | task | seeds | `none` | `weight` | mean difference by seed | better |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| PPO | A | 4 | 2.5 | 12.8 | 10.1 (9.7 to 10.5) | 1.00 |",
        "|  | B | 4 | 502 | 102 | −400 (−401 to −399) | 0.00 |",
        "| DQN | A | 3 | −1.7 | −1.7 | 0.0 (−26.3 to 26.3) | 0.50 |",
    ]
    assert len(comparison_table([AHEAD, BEHIND, EQUAL], "layer").splitlines()) == 4


def test_a_difference_is_an_interval_that_leaves_0_out():
    comparisons = [AHEAD, BEHIND, EQUAL]
    assert differing(comparisons, "weight", 1) == [AHEAD]
    assert differing(comparisons, "weight", -1) == [BEHIND]


def test_over_all_each_comparison_counts_once_and_the_interval_is_over_comparisons():
    value = overall([AHEAD, BEHIND, EQUAL], "weight")  # 1, 0 and 0.5: deviation 0.5, t(0.975, 2) = 4.3027
    assert np.array(value) == pytest.approx([0.5, 0.5 - 4.3027 * 0.5 / 3**0.5, 0.5 + 4.3027 * 0.5 / 3**0.5], abs=1e-4)
    assert overall_table([AHEAD, BEHIND, EQUAL, FEW]).splitlines()[2:] == [
        "| `weight` | 3 | 1 | 1 | 0.50 (−0.74 to 1.74) |",
        "| `layer` | 2 | 0 | 0 | 0.53 |",
    ]


def test_a_normalizer_without_enough_runs_is_refused_by_name():
    for comparisons, norm in (([AHEAD], "batch"), ([FEW], "weight")):
        with pytest.raises(ValueError, match=f"no comparison has 3 seeds with {norm} and with none"):
            comparison_table(comparisons, norm)


@pytest.mark.parametrize(
    ("value", "text"), [(-0.04, "0.0"), (99.94, "99.9"), (99.96, "100"), (-245.4, "−245"), (12345.6, "12346")]
)
def test_numbers_have_one_decimal_below_100(value, text):
    assert number(value) == text


def test_without_an_interval_there_is_the_value_alone():
    assert with_interval(Estimate(*map(np.asarray, (1.0, np.nan, np.nan)))) == "1.0"
