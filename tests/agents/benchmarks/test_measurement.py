"""agents.benchmarks.measurement: options and tables that all measurements share."""

import pytest
import torch

from agents.benchmarks.measurement import Timing, rate_table


@pytest.mark.parametrize("rounds", [0, -1])
def test_no_rounds_are_refused(rounds):
    with pytest.raises(ValueError, match=f"^rounds must be at least 1, got {rounds}$"):
        Timing(rounds=rounds)


@pytest.mark.parametrize(("threads", "then"), [(0, 3), (2, 2)])
def test_threads_are_set_where_some_are_given(threads, then):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        Timing(threads=threads).set_threads()
        assert torch.get_num_threads() == then
    finally:
        torch.set_num_threads(before)


def test_a_table_of_rates_is_as_wide_as_its_longest_name():
    rows = {"a": {"median": 1234.4, "ratio": 1.0}, "a name of more than 24 letters": {"median": 99.6, "ratio": 0.081}}
    assert rate_table(rows).splitlines() == [
        "                                  steps/s   ratio",
        "a                                    1234    1.00",
        "a name of more than 24 letters        100    0.08",
    ]
