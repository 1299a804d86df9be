from dataclasses import FrozenInstanceError, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wnrl.schedules import Every, LinearSchedule


@pytest.mark.parametrize(
    ("step", "value"),
    [(0, 1.0), (99, 1.0), (100, 1.0), (101, 0.9991), (600, 0.55), (1_099, 0.1009), (1_100, 0.1), (10**9, 0.1)],
)
def test_linear_by_hand(step, value):
    assert LinearSchedule(1.0, 0.1, 1_000, begin=100)(step) == pytest.approx(value, abs=1e-12)


def test_linear_rises_too():
    assert [LinearSchedule(0, 4, 4)(step) for step in range(6)] == [0, 1, 2, 3, 4, 4]


def test_a_slope_of_no_length_jumps():
    assert [LinearSchedule(1.0, 0.5, 0, begin=2)(step) for step in range(4)] == [1.0, 1.0, 0.5, 0.5]


def test_the_end_is_exact():
    assert LinearSchedule(1.0, 0.1, 3)(3) == 0.1


@pytest.mark.parametrize(
    ("before", "after", "ticks"),
    [(0, 9, 0), (0, 10, 1), (9, 10, 1), (10, 10, 0), (10, 19, 0), (10, 45, 3), (0, 100, 10)],
)
def test_every_by_hand(before, after, ticks):
    assert Every(10).ticks(before, after) == ticks


@pytest.mark.parametrize("stride", [1, 3, 8, 64])
@pytest.mark.parametrize("start", [0, 5, 50])
def test_ticks_add_up_whatever_the_stride(stride, start):
    clock = Every(7, start=start)
    total = sum(clock.ticks(before, before + stride) for before in range(0, 64 * 21, stride))
    assert total == clock.ticks(0, 64 * 21) == (64 * 21 - start) // 7


def test_nothing_ticks_before_the_start():
    assert [step for step in range(1, 30) if Every(4, start=10).ticks(step - 1, step)] == [14, 18, 22, 26]


def test_an_interval_of_0_never_ticks():
    assert Every(0).ticks(0, 10**9) == 0


@settings(max_examples=100, deadline=None)
@given(
    start=st.floats(-1e6, 1e6),
    end=st.floats(-1e6, 1e6),
    steps=st.integers(0, 10**9),
    begin=st.integers(0, 10**9),
    at=st.lists(st.integers(-(10**10), 10**10), min_size=2, max_size=10),
)
def test_a_slope_goes_one_way_between_its_ends(start, end, steps, begin, at):
    schedule = LinearSchedule(start, end, steps, begin)
    assert schedule(begin - 1) == start
    assert schedule(begin) == (start if steps else end)
    assert schedule(begin + steps) == end
    values = [schedule(step) for step in sorted(at)]
    slack = 1e-9 * max(abs(start), abs(end))  # of rounding
    assert all(min(start, end) - slack <= value <= max(start, end) + slack for value in values)
    assert all((after - before) * (end - start) >= -slack * abs(end - start) for before, after in pairwise(values))


@settings(max_examples=100, deadline=None)
@given(interval=st.integers(1, 50), start=st.integers(0, 60), strides=st.lists(st.integers(0, 40), max_size=30))
def test_ticks_are_the_multiples_that_are_passed(interval, start, strides):
    clock, step = Every(interval, start), 0
    for stride in strides:
        passed = [at for at in range(step + 1, step + stride + 1) if at > start and (at - start) % interval == 0]
        assert clock.ticks(step, step + stride) == len(passed)
        step += stride


@pytest.mark.parametrize(("clock", "field"), [(LinearSchedule(0, 1, 2), "start"), (Every(3), "interval")])
def test_they_are_values(clock, field):
    assert hash(clock) == hash(replace(clock))
    with pytest.raises(FrozenInstanceError):
        setattr(clock, field, 7)
