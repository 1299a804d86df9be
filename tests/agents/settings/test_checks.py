from dataclasses import dataclass

import pytest

from agents.settings.checks import check_above_zero, check_at_least, check_at_most, check_shares, check_used


@dataclass(frozen=True)
class Numbers:
    left: float = 1.0
    right: int = 1
    share: float = 0.5


@pytest.mark.parametrize(
    ("check", "changes", "said"),
    [
        (lambda numbers: check_above_zero(numbers, "left"), {"left": 0.0}, "left must be above 0, got 0.0"),
        (lambda numbers: check_above_zero(numbers, "left"), {"left": -1.0}, "left must be above 0, got -1.0"),
        (lambda numbers: check_at_least(numbers, 1, "right"), {"right": 0}, "right must be at least 1, got 0"),
        (lambda numbers: check_at_least(numbers, 0, "right"), {"right": -1}, "right must not be negative, got -1"),
        (lambda numbers: check_at_most(numbers, 9, "right"), {"right": 10}, "right must be at most 9, got 10"),
        (lambda numbers: check_shares(numbers, "share"), {"share": 2.0}, "share must lie between 0 and 1, got 2.0"),
    ],
)
def test_a_number_out_of_range_is_refused_by_name_and_value(check, changes, said):
    with pytest.raises(ValueError, match=said):
        check(Numbers(**changes))
    check(Numbers())


def test_a_value_that_nothing_uses_is_refused_and_the_default_is_not():
    check_used(Numbers(), False, "something", "left", "share")
    check_used(Numbers(left=3.0), True, "something", "left")
    with pytest.raises(ValueError, match=r"left 3\.0 has no effect without something: leave it out"):
        check_used(Numbers(left=3.0), False, "something", "left")
