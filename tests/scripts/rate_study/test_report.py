import math

import pytest
from rate_study.report import Comparison, Spread, around, tables, write
from rate_study.study import Outcome, StudyRun

CHANCE = math.log(10)


def outcomes(**losses):
    """By norm a row for each rate 0.001, 0.01, …, with a loss for each seed."""
    return [
        Outcome(
            StudyRun("digits", norm.replace("_", "-"), 10.0 ** (number - 3), seed, 2, "adam", "data", "sqrt"),
            (2.0, loss),
            full_loss=0.1,
            test_loss=10 * loss,
            test_error=0.01 * (seed + 1),
            seconds=1.0,
        )
        for norm, rows in losses.items()
        for number, row in enumerate(rows)
        for seed, loss in enumerate(row)
    ]


@pytest.fixture
def comparison():
    return Comparison(
        outcomes(
            none=[(2.0, 2.1, 2.2), (0.4, 0.3, 0.5), (math.nan, 0.2, math.nan), (math.nan,) * 3],
            weight=[(0.2, 0.2, 0.21), (0.1, 0.11, 0.09), (0.15, 0.3, 0.31), (5.0, 6.0, 7.0)],
        )
    )


def test_spread_is_median_least_and_greatest():
    assert Spread.of([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    assert Spread.of([3.0, math.nan, 1.0]) == (3.0, 1.0, math.inf)
    assert str(Spread.of([1.0, 2.0, 30.456])) == "2 (1 to 30.5)"
    assert str(Spread.of([math.nan, math.inf])) == "diverged"


def test_losses_are_sorted_by_rate_and_norms_kept_in_order():
    made = outcomes(weight=[(1.0,), (0.5,)], none=[(2.0,), (1.5,)])
    comparison = Comparison(made[::-1])
    assert list(comparison.cells) == ["none", "weight"]
    assert {rate: spread.median for rate, spread in comparison.losses("weight").items()} == {0.001: 1.0, 0.01: 0.5}


def test_the_limit_is_a_share_of_the_way_to_the_best_of_all_norms(comparison):
    assert comparison.best_rate("none") == 0.01
    assert comparison.best_rate("weight") == 0.01
    assert comparison.limit(1.0) == pytest.approx(0.1)
    assert comparison.limit(0.9) == pytest.approx(0.1 * CHANCE + 0.9 * 0.1)


def test_what_works(comparison):
    assert comparison.working("weight", 0.9) == [0.001, 0.01, 0.1]
    assert comparison.working("weight", 0.99) == [0.01]
    assert comparison.working("none", 0.9) == []
    assert comparison.working("none", 0.8) == [0.01]


def test_nothing_works_where_nothing_is_better_than_a_guess():
    comparison = Comparison(outcomes(none=[(3.0,), (math.nan,)]))
    assert comparison.working("none", 0.9) == []
    assert Comparison(outcomes(none=[(math.nan,)])).working("none", 0.9) == []


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([9, 1, 0, 1, 9], [2, 3, 4]),
        ([1, 9, 0, 9, 1], [3]),  # a gap ends the range
        ([1, 1, 0, 1, 1], [1, 2, 3, 4, 5]),
        ([9, 9, 2, 9, 9], []),
    ],
)
def test_the_range_has_no_gap(losses, expected):
    assert around(dict(enumerate(losses, 1)), best=3, limit=1) == expected


def test_tables(comparison):
    first, second, note = tables(comparison, [0.9, 0.99]).split("\n\n")
    assert first.splitlines() == [
        "| rate | none | weight |",
        "| --- | --- | --- |",
        "| 0.001 | 2.1 (2 to 2.2) | 0.2 (0.2 to 0.21) |",
        "| 0.01 | 0.4 (0.3 to 0.5) | 0.1 (0.09 to 0.11) |",
        "| 0.1 | inf (0.2 to inf), 2 of 3 diverged | 0.3 (0.15 to 0.31) |",
        "| 1 | diverged | 6 (5 to 7) |",
    ]
    assert second.splitlines()[2:] == [
        "| none | 0.01 | 0.4 (0.3 to 0.5) | 4 (3 to 5) | 2 (1 to 3) | no rate | no rate |",
        "| weight | 0.01 | 0.1 (0.09 to 0.11) | 1 (0.9 to 1.1) | 2 (1 to 3) | 0.001 to 0.1: 2.0 decades | 0.01 alone |",
    ]
    assert "works (99 %)" in second
    assert "Uniform guess: 2.3; 0.9 of the way: 0.32, 0.99 of the way: 0.122." in note


def test_tables_are_written_whole_or_refused(tmp_path):
    write("| – |", tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == "| – |\n"
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(ValueError, match=f"^cannot write {tmp_path}/folder.md "):
        write("| – |", tmp_path / "folder.md")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.md", "table.md"]
