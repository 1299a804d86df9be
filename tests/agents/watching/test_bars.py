import builtins

import numpy as np
import pytest

from agents.watching.action_values import ActionValues
from agents.watching.bars import BAR, CHOSEN, Bars, along, decimals, width_of

HEIGHT, ROW = 300, 26


def bar(panel, place, row=ROW):
    """First column, width and colour of the bar of the row at that place, from 0."""
    line = panel[round(row * (place + 1.5)) + 4]
    for colour in (BAR, CHOSEN):
        columns = np.flatnonzero((line == colour).all(-1))
        if len(columns) > 12:  # more than letters have
            return columns[0], len(columns), colour
    return None, 0, None


def drawn(numbers, chosen=None, bars=None, height=HEIGHT, **bounds):
    values = ActionValues("Q values", np.array(numbers, np.float32), **bounds)
    return (bars or Bars()).draw(values, chosen, height)


def test_bars_are_proportional_to_the_numbers():
    panel = drawn([1.0, 2.0, 4.0, 3.0], chosen=2)
    assert panel.shape == (HEIGHT, width_of(HEIGHT), 3)
    assert panel.dtype == np.uint8
    (left, one, _), (_, two, _), (_, four, colour), (_, three, other) = (bar(panel, place) for place in range(4))
    assert four > 100
    assert (one, two, three) == pytest.approx((four / 4, four / 2, four * 3 / 4), abs=1)
    assert (colour, other) == (CHOSEN, BAR)
    assert {bar(panel, place)[0] for place in range(4)} == {left}  # all from 0 on


def test_negative_numbers_go_to_the_left():
    panel = drawn([-2.0, 1.0, 0.0])
    (left, long, _), (right, short, _) = bar(panel, 0), bar(panel, 1)
    assert long == pytest.approx(2 * short, abs=1)
    assert left + long == pytest.approx(right, abs=1)
    assert bar(panel, 2)[1] == 0


def test_probabilities_have_an_axis_from_0_to_1():
    half, whole = (bar(drawn([p, 1 - p], low=0.0, high=1.0), 0)[1] for p in (0.5, 1.0))
    assert half == pytest.approx(whole / 2, abs=1)


def test_the_axis_spans_all_numbers_so_far():
    bars = Bars()
    first = bar(drawn([1.0, 1.0], bars=bars), 0)[1]
    drawn([4.0, 1.0], bars=bars)
    again = bar(drawn([1.0, 1.0], bars=bars), 0)[1]
    assert again == pytest.approx(first / 4, abs=1)


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_numbers_that_are_not_finite_leave_the_axis_as_it_is(odd):
    bars = Bars()
    plain = drawn([2.0, 1.0], bars=bars)
    panel = drawn([odd, 1.0], bars=bars)
    assert bar(panel, 1) == bar(plain, 1)
    assert bar(panel, 0)[1] == (bar(plain, 0)[1] if odd == np.inf else 0)
    assert drawn([odd, odd]).shape == plain.shape
    assert drawn([odd, 0.5], low=0.0, high=1.0).shape == plain.shape


def test_minus_infinity_is_a_bar_to_the_left():
    panel = drawn([-np.inf, -2.0, 1.0])
    assert bar(panel, 0) == bar(panel, 1)
    assert bar(panel, 0)[1] == pytest.approx(2 * bar(panel, 2)[1], abs=1)


def test_meanings_of_actions_may_be_numbers():
    assert (drawn([1.0, 2.0], bars=Bars([7, 0.5])) == drawn([1.0, 2.0], bars=Bars(["7", "0.5"]))).all()


def test_rows_have_the_names_of_actions():
    assert (drawn([1.0, 2.0], bars=Bars(["0", "1"])) == drawn([1.0, 2.0])).all()
    assert (drawn([1.0, 2.0], bars=Bars(["0"])) == drawn([1.0, 2.0])).all()
    assert (drawn([1.0, 2.0], bars=Bars(["0", "FIRE"])) != drawn([1.0, 2.0])).any()


def test_the_numbers_are_written():
    one, other = (drawn([number, 4.0])[ROW : 2 * ROW, -40:] for number in (1.5, 1.4))
    assert (one != other).any()


def test_the_chosen_action_is_marked():
    assert (drawn([1.0, 2.0], chosen=0) != drawn([1.0, 2.0], chosen=1)).any()
    assert not (drawn([1.0, 2.0]) == CHOSEN).all(-1).any()


def test_where_there_are_too_many_actions_the_highest_are_shown():
    numbers = np.arange(100) / 100
    panel = drawn(numbers, height=200, low=0.0, high=1.0)
    assert panel.shape == (200, width_of(200), 3)
    few = drawn(numbers[82:], height=200, low=0.0, high=1.0, bars=Bars([str(name) for name in range(82, 100)]))
    assert (panel[:190] == few[:190]).all()
    assert (panel[190:] != few[190:]).any()  # and 82 more


@pytest.mark.parametrize("numbers", [[0.0, 0.0], [5.0], [-1e9, 1e9]])
def test_numbers_of_any_size(numbers):
    assert drawn(numbers).shape == (HEIGHT, width_of(HEIGHT), 3)


def test_places_on_an_axis():
    assert along(3.0, 1.0, 5.0, 10.0, 30.0) == 20.0
    assert along(3.0, 3.0, 3.0, 10.0, 30.0) == 10.0
    assert [along(beyond, 1.0, 5.0, 10.0, 30.0) for beyond in (-np.inf, 0.0, 6.0, np.inf)] == [10.0, 10.0, 30.0, 30.0]
    assert along(np.nan, -1.0, 1.0, 10.0, 30.0) == 20.0
    assert [decimals(span) for span in (0.0, 0.001, 0.2, 1.0, 50.0, 5_000.0)] == [3, 3, 3, 3, 2, 0]


def test_bars_without_their_package_are_refused_with_what_to_install(monkeypatch):
    real = builtins.__import__

    def lacking(name, *args, **kwargs):
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(ValueError, match=r'Pillow: pip install "wnrl\[video\]"'):
        Bars()
