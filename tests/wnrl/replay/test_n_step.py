import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wnrl.replay.n_step import PendingRow, n_step_return


def window(rewards: list, discounts: list, firsts: list) -> list[PendingRow]:
    """PendingRows of one environment, whose history is the row's number."""
    columns = zip(rewards, discounts, firsts, strict=True)
    return [
        PendingRow(np.array([0]), np.array([float(r)]), np.array([float(d)]), np.array([bool(f)]), np.array([t]))
        for t, (r, d, f) in enumerate(columns)
    ]


@pytest.mark.parametrize(
    ("rewards", "discounts", "firsts", "expected"),
    [
        ([7, 1, 2, 4], [0, 1, 1, 1], [1, 0, 0, 0], (1 + 2 * 0.5 + 4 * 0.25, 0.125, 3, 3)),  # nothing ends
        ([7, 1, 2, 4], [1, 1, 0, 1], [0, 0, 0, 0], (1 + 2 * 0.5, 0, 3, 3)),  # a lost life
        ([7, 1, 2, 4], [1, 1, 0, 1], [0, 0, 0, 1], (1 + 2 * 0.5, 0, 2, 2)),  # termination
        ([7, 1, 2, 4], [1, 1, 1, 0], [0, 0, 0, 1], (1 + 2 * 0.5, 0.25, 2, 2)),  # truncation
        ([7, 1, 2, 4], [1, 1, 1, 1], [0, 1, 0, 0], (0, 1, 0, 0)),  # no transition
    ],
)
def test_table(rewards: list, discounts: list, firsts: list, expected: tuple) -> None:
    gain = n_step_return(window(rewards, discounts, firsts), gamma=0.5)
    assert tuple(float(column[0]) for column in gain) == expected


def test_environments_are_apart() -> None:
    one = window([0, 1, 2], [1, 1, 1], [1, 0, 0])
    other = window([0, 1, 2], [1, 0, 1], [1, 0, 1])
    both = [PendingRow(*map(np.concatenate, zip(*rows, strict=True))) for rows in zip(one, other, strict=True)]
    gain = n_step_return(both, gamma=0.5)
    for env, rows in enumerate((one, other)):
        assert [column[env] for column in gain] == [column[0] for column in n_step_return(rows, gamma=0.5)]


def naive(rewards: list, discounts: list, firsts: list, gamma: float) -> tuple:
    """The same by the sum's own terms, of one environment."""
    steps = next((t for t, first in enumerate(firsts[1:]) if first), len(firsts) - 1)
    ends = next((t for t in range(1, steps + 1) if discounts[t] == 0), None)
    total = sum(gamma ** (t - 1) * rewards[t] for t in range(1, (ends or steps) + 1))
    return total, 0.0 if ends else gamma**steps, steps, steps


@settings(max_examples=100, deadline=None)
@given(
    rows=st.integers(2, 7).flatmap(
        lambda n: st.lists(
            st.lists(
                st.tuples(st.floats(-1e3, 1e3), st.sampled_from([1, 1, 0]), st.sampled_from([0, 0, 1])),
                min_size=n,
                max_size=n,
            ),
            min_size=1,
            max_size=4,
        )
    ),
    gamma=st.floats(0, 1),
)
def test_is_the_naive_sum_of_each_environment(rows: list, gamma: float) -> None:
    """`rows`: of each environment, a list of reward, discount and whether an episode begins."""
    columns = [[list(column) for column in zip(*of_one, strict=True)] for of_one in rows]
    windows = [window(*of_one) for of_one in columns]
    together = [PendingRow(*map(np.concatenate, zip(*at, strict=True))) for at in zip(*windows, strict=True)]
    gain = n_step_return(together, gamma)
    for env, (rewards, discounts, firsts) in enumerate(columns):
        reward, discount, steps, history = naive(rewards, discounts, firsts, gamma)
        if not steps:
            assert gain.steps[env] == 0
            continue
        assert (gain.steps[env], gain.history[env]) == (steps, history)
        assert gain.reward[env] == pytest.approx(reward, rel=1e-12, abs=1e-12)
        assert gain.discount[env] == pytest.approx(discount, rel=1e-12)
