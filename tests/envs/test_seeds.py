import numpy as np
import pytest

from envs.seeds import environment_seeds


def test_runs_of_one_seed_are_reproduced_by_later_versions():
    assert environment_seeds(0, 3).tolist() == [1484405855, 1838574579, 372825380]
    assert environment_seeds(4294967295, 1).tolist() != environment_seeds(2147483647, 1).tolist()


def test_an_environment_has_the_same_seed_whatever_the_number_of_environments():
    most = environment_seeds(7, 1_000)
    for number in (1, 2, 999):
        np.testing.assert_array_equal(environment_seeds(7, number), most[:number], strict=True)


def test_no_two_environments_of_a_thousand_integers_have_the_same_seed():
    """Of which consecutive integers would share all but one."""
    drawn = np.concatenate([environment_seeds(seed, 8) for seed in (*range(500), *range(2**31 - 250, 2**31 + 250))])
    assert len(np.unique(drawn)) == 8_000
    assert drawn.min() >= 0
    assert drawn.max() < 2**31
    assert drawn.mean() == pytest.approx(2**30, rel=0.03)


def test_a_seed_that_comes_twice_is_left_out():
    class Few(np.random.SeedSequence):
        def generate_state(self, n_words, dtype=np.uint32):
            return np.array([10, 11, 10, 40, 11, 60] + [8] * (n_words - 6), dtype)

    assert environment_seeds(Few(0), 4).tolist() == [5, 20, 30, 4]


def test_seeds_of_their_own_are_taken_as_they_are():
    given = np.array([3, 0, 2**31 - 1], np.uint32)
    for seeds in (given, given.tolist(), tuple(given.tolist())):
        np.testing.assert_array_equal(environment_seeds(seeds, 3), np.array([3, 0, 2**31 - 1], np.int64), strict=True)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        (np.array([1, 2]), r"^seeds must be \[3\] integer, got \[2\] int64$"),
        (np.array([1.0, 2, 3]), r"^seeds must be \[3\] integer, got \[3\] float64$"),
        (np.array([1, -1, 3]), r"^seeds must be in 0 … 2147483647, got \[1, -1, 3\]$"),
        (np.array([1, 2, 2**31]), r"^seeds must be in 0 … 2147483647, got \[1, 2, 2147483648\]$"),
        (-1, "non-negative"),
        ([1, 2], r"^seeds must be \[3\] integer, got \[2\] int64$"),
        (1.5, r"^seed must be an integer or the seeds of each environment, got 1.5$"),
        ("7", r"^seed must be an integer or the seeds of each environment, got '7'$"),
    ],
)
def test_wrong_seeds_are_refused(seeds, message):
    with pytest.raises(ValueError, match=message):
        environment_seeds(seeds, 3)
