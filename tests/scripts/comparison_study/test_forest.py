import pytest
from comparison_study.comparison import Comparison
from comparison_study.forest import WIDEST, make_figure

from tests.scripts.comparison_study.test_comparison_tables import AHEAD, BEHIND, EQUAL


def lines_at(axes, height):
    return [line for line in axes.lines if set(line.get_ydata()) == {height}]


def test_a_row_has_its_name_its_interval_and_its_mean():
    (axes,) = make_figure([EQUAL], "weight").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["DQN, A (3 seeds)"]
    bar, marker, *_ = lines_at(axes, 0)
    value = EQUAL.effect("weight")
    assert marker.get_xdata()[0] == pytest.approx(float(value.value))
    assert list(bar.get_xdata()) == pytest.approx([max(-WIDEST, float(value.low)), min(WIDEST, float(value.high))])


def test_what_is_beyond_the_axis_ends_in_an_arrow():
    (axes,) = make_figure([AHEAD, BEHIND], "weight").axes
    assert [line.get_marker() for line in lines_at(axes, 0)][2:] == [">"]
    assert [line.get_marker() for line in lines_at(axes, 1)][2:] == ["<"]
    for height, side in ((0, WIDEST), (1, -WIDEST)):  # both ends are beyond it
        assert list(lines_at(axes, height)[0].get_xdata()) == [side, side]


def test_rows_without_a_spread_are_at_0():
    same = Comparison("X", "A-v1", {norm: {0: 5.0, 1: 5.0, 2: 5.0} for norm in ("none", "weight")})
    (axes,) = make_figure([same], "weight").axes
    assert [list(line.get_xdata()) for line in lines_at(axes, 0)] == [[0, 0], [0]]


def test_the_title_has_the_probability_over_all():
    figure = make_figure([AHEAD, BEHIND, EQUAL], "weight")
    assert figure.get_suptitle() == "weight − none; weight is the better with a probability of 0.50 (−0.74 to 1.74)"
