import pytest
from comparison_study.comparison import Comparison
from comparison_study.forest import WIDEST, make_figure

from tests.scripts.comparison_study.test_comparison_tables import AHEAD, BEHIND, compared

INSIDE = compared("DQN", "A-v1", [0, 10, 20, 30, 40], weight=[6, 12, 30, 35, 47])


def lines_at(axes, height):
    return [line for line in axes.lines if set(line.get_ydata()) == {height}]


def test_a_row_has_its_name_its_interval_and_its_mean():
    figure = make_figure([INSIDE], "weight")
    (axes,) = figure.axes
    assert figure.get_suptitle() == "weight − none"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["DQN, A (5 seeds)"]
    bar, marker = lines_at(axes, 0)
    deviation = ((250 + 283.5) / 2) ** 0.5  # variances of [0, 10, …] and of [6, 12, 30, 35, 47]
    half = 2.7764 * 2.9155 / 5**0.5  # t(0.975, 4), deviation of 6, 2, 10, 5, 7
    assert marker.get_xdata()[0] == pytest.approx(6 / deviation)
    assert list(bar.get_xdata()) == pytest.approx([(6 - half) / deviation, (6 + half) / deviation], abs=1e-4)


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
