import numpy as np
import pytest

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
