import numpy as np
import pytest
from comparison_study.comparison import Comparison
from comparison_study.comparison_tables import (
    comparison_table,
    left_out,
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
EQUAL = compared("DQN", "A-v1", [-3, 5, -7, 99], weight=[5, -7, -3])  # the seed without a counterpart does not count
FEW = compared("A2C", "A-v1", [1, 2], weight=[3, 4], batch=[1, 1])


def test_a_row_for_each_comparison_that_has_the_normalizer():
    assert comparison_table([AHEAD, BEHIND, EQUAL, FEW], "weight").splitlines() == [
        "| agent | task | seeds | `none` | `weight` | mean difference by seed | better (ties half) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| PPO | A | 4 | 2.5 | 12.8 | 10.1 (9.7 to 10.5) | 1.00 |",
        "|  | B | 4 | 502 | 102 | −400 (−401 to −399) | 0.00 |",
        "| DQN | A | 3 | −1.7 | −1.7 | 0.0 (−26.3 to 26.3) | 0.50 |",
    ]
    assert len(comparison_table([AHEAD, BEHIND, EQUAL], "layer").splitlines()) == 3


def test_over_all_each_comparison_counts_once_and_the_interval_is_over_comparisons():
    near = compared("SAC", "A-v1", [1, 2, 3], weight=[1, 2, 4])  # 5 of 9 pairs, ties half: 4 + 2 / 2
    far = compared("SAC", "B-v1", [1, 2, 3], weight=[0, 2, 3])
    probabilities = np.array([5 / 9, 4 / 9, 0.5])
    half = 4.3027 * probabilities.std(ddof=1) / 3**0.5  # t(0.975, 2)
    assert np.array(overall([near, far, EQUAL], "weight")) == pytest.approx([0.5, 0.5 - half, 0.5 + half], abs=1e-4)


def test_ahead_and_behind_are_intervals_that_leave_0_out_and_probabilities_end_at_0_and_1():
    assert overall_table([AHEAD, BEHIND, EQUAL, FEW]).splitlines() == [
        "| normalizer | comparisons | ahead | behind | better than `none` (ties half) | unpaired |",
        "| --- | --- | --- | --- | --- | --- |",
        "| `weight` | 3 | 1 | 1 | 0.50 (0.00 to 1.00) | 1, 1 |",
        "| `layer` | 1 | 0 | 0 | 0.50 | 0, 0 |",
    ]


def test_what_pairs_show_alone():
    """Runs of one seed that rise and fall together: paired ahead, unpaired within the spread."""
    together = compared("PPO", "A-v1", [1, 20, 40], weight=[2, 21.1, 41])
    assert overall_table([together]).splitlines()[2] == "| `weight` | 1 | 1 | 0 | 0.67 | 0, 0 |"


def test_tables_are_of_any_baseline():
    comparisons = [one._replace(baseline="weight") for one in (AHEAD, BEHIND)]
    assert comparison_table(comparisons, "none").splitlines()[::2] == [
        "| agent | task | seeds | `weight` | `none` | mean difference by seed | better (ties half) |",
        "| PPO | A | 4 | 12.8 | 2.5 | −10.1 (−10.5 to −9.7) | 0.00 |",
    ]
    assert "better than `weight`" in overall_table(comparisons)


def test_a_normalizer_without_enough_runs_is_refused_by_name():
    for comparisons, norm in (([AHEAD], "batch"), ([AHEAD], "none"), ([AHEAD, FEW], "batch")):
        with pytest.raises(
            ValueError, match=f"no comparison of '{norm}' with 'none' has 3 seeds; there are weight, layer"
        ):
            comparison_table(comparisons, norm)
    assert left_out([AHEAD, FEW, EQUAL], "weight") == [FEW]
    assert left_out([AHEAD, BEHIND], "layer") == []


@pytest.mark.parametrize(
    ("value", "text"), [(-0.04, "0.0"), (99.94, "99.9"), (99.96, "100"), (-245.4, "−245"), (12345.6, "12346")]
)
def test_numbers_have_one_decimal_below_100(value, text):
    assert number(value) == text


def test_without_an_interval_there_is_the_value_alone():
    assert with_interval(Estimate(*map(np.asarray, (1.0, np.nan, np.nan)))) == "1.0"
