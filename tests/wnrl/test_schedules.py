import pytest

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
