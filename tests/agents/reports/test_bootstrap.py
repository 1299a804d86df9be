"""agents.reports.bootstrap, against naive twins."""

import numpy as np
import pytest
from scipy.stats import ttest_ind

from agents.reports.bootstrap import (
    estimate,
    iqm,
    mean,
    mean_difference,
    median,
    optimality_gap,
    probability_of_improvement,
    profile,
    share,
    unpaired_difference,
)

RNG = np.random.default_rng(0)


def naive_iqm(scores):
    """Sorted, without a quarter of the runs at each end, rounded down."""
    ordered = sorted(scores)
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)


def naive_probability(x, y):
    return sum((a > b) + (a == b) / 2 for a in x for b in y) / (len(x) * len(y))


@pytest.mark.parametrize(
    ("scores", "value"), [([1, 2, 3], 2), ([1, 2, 3, 100], 2.5), ([7], 7), ([0, 10, 20, 30, 40, 50, 60, 1000], 35)]
)
def test_iqm_of_literals(scores, value):
    assert iqm(np.array(scores, float)) == value


@pytest.mark.parametrize("runs", [(5,), (3, 3), (4, 7, 2)])
def test_statistics_are_those_of_naive_twins(runs):
    tasks = [RNG.normal(size=n) for n in runs]
    flat = np.concatenate(tasks)
    assert iqm(*tasks) == pytest.approx(naive_iqm(flat))
    assert mean(*tasks) == pytest.approx(np.mean([task.mean() for task in tasks]))
    assert median(*tasks) == pytest.approx(np.median([task.mean() for task in tasks]))
    assert optimality_gap(*tasks) == pytest.approx(np.mean([1 - min(score, 1) for score in flat]))
    assert share(*tasks) == pytest.approx(flat.mean())


def test_statistics_are_taken_along_the_last_axis():
    tasks = [RNG.normal(size=(2, 6, 5)), RNG.normal(size=(2, 6, 4))]
    for statistic in (iqm, mean, median, optimality_gap, share):
        found = statistic(*tasks, axis=-1)
        assert found.shape == (2, 6)
        assert found[1, 3] == pytest.approx(statistic(*(task[1, 3] for task in tasks)))


def test_probability_of_improvement():
    x, y = [np.array([1.0, 2.0, 3.0])], [np.array([2.0, 2.0])]
    assert probability_of_improvement(*x, *y) == pytest.approx((0 + 0.5 + 1) / 3)
    x, y = [RNG.normal(size=n) for n in (5, 3)], [RNG.normal(size=n) for n in (4, 6)]
    twin = np.mean([naive_probability(a, b) for a, b in zip(x, y, strict=True)])
    assert probability_of_improvement(*x, *y) == pytest.approx(twin)
    assert probability_of_improvement(*y, *x) == pytest.approx(1 - twin)


def test_profile_is_the_share_of_runs_above():
    tasks = [np.array([1.0, 2.0, 3.0]), np.array([2.0, 5.0, 9.0])]
    found = profile(tasks, np.array([0.0, 1.0, 2.0, 8.9, 9.0]), resamples=100)
    assert found.value == pytest.approx([1, 5 / 6, 3 / 6, 1 / 6, 0])
    assert found.low[0] == found.high[0] == 1
    assert (found.low <= found.value).all()
    assert (found.value <= found.high).all()


def naive_interval(tasks, statistic, draws=2000):
    """Each task's runs drawn again apart, in a loop."""
    rng = np.random.default_rng(1)
    found = [statistic(*(rng.choice(task, len(task)) for task in tasks)) for _ in range(draws)]
    return np.percentile(found, [2.5, 97.5])


@pytest.mark.parametrize("statistic", [iqm, mean])
def test_the_interval_is_that_of_a_naive_bootstrap(statistic):
    tasks = [RNG.normal(size=8), RNG.normal(5, 2, size=6)]
    found = estimate(tasks, statistic, 4000)
    low, high = naive_interval(tasks, statistic)
    width = high - low
    assert [found.low, found.high] == pytest.approx([low, high], abs=0.08 * width)


# What rliable 1.2.0 gives for these scores, 5 runs of 4 tasks, with 20,000 draws (5,000 for the last one).
RLIABLE = {
    iqm: (-0.17368481, -0.51495501, 0.16565497),
    median: (-0.10841553, -0.53914633, 0.20211786),
    mean: (-0.18317832, -0.52199458, 0.13104805),
    optimality_gap: (1.20050399, 0.8983993, 1.53061407),
    probability_of_improvement: (0.25, 0.11, 0.4),
}


@pytest.mark.parametrize("statistic", RLIABLE)
def test_statistics_and_intervals_are_those_of_rliable(statistic):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 4)), rng.normal(0.4, 1, size=(5, 4))
    tasks = [*x.T, *y.T] if statistic is probability_of_improvement else [*x.T]
    found = estimate(tasks, statistic, 4000)
    value, low, high = RLIABLE[statistic]
    assert found.value == pytest.approx(value)
    assert [float(found.low), float(found.high)] == pytest.approx([low, high], abs=0.05 * (high - low))


def test_tasks_are_strata():
    """Were the runs of both tasks drawn together, the interval would span most of the way from 0 to 100."""
    tasks = [RNG.normal(0, 0.1, 5), RNG.normal(100, 0.1, 5)]
    found = estimate(tasks, mean, 500)
    assert found.high - found.low < 0.5
    (together,) = [estimate([np.concatenate(tasks)], mean, 500)]
    assert together.high - together.low > 40


def test_each_row_has_its_own_interval():
    runs = RNG.normal(size=(7, 5)) * np.arange(1, 8)[:, None]
    found = estimate([runs], iqm, 300)
    assert found.low.shape == found.high.shape == found.value.shape == (7,)
    alone = estimate([runs[3]], iqm, 300)
    assert [found.low[3], found.high[3]] == pytest.approx([float(alone.low), float(alone.high)])


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """Of the mean of 20 normal scores in 1,000 studies; percentile intervals of few runs are a little too narrow."""
    found = estimate([np.random.default_rng(5).normal(3, 2, size=(1000, 20))], mean, 1000)
    covered = ((found.low <= 3) & (found.high >= 3)).mean()
    assert 0.90 <= covered <= 0.96


def test_fewer_than_three_runs_of_a_task_have_no_interval():
    found = estimate([np.array([1.0, 3.0])], iqm)
    assert (found.value, found.has_interval) == (2, False)
    assert np.isnan(found.low)
    assert not estimate([np.ones(9), np.ones(2)], iqm).has_interval
    assert estimate([np.arange(3.0)], iqm, 100).has_interval


def test_draws_are_the_same_again_and_in_batches_too(monkeypatch):
    tasks = [RNG.normal(size=(50, 5))]
    first = estimate(tasks, iqm, 200)
    assert (estimate(tasks, iqm, 200).low == first.low).all()
    monkeypatch.setattr("agents.reports.bootstrap._NUMBERS", 1000)
    again = estimate(tasks, iqm, 200)
    assert again.low == pytest.approx(first.low)


def test_equal_scores_have_an_interval_without_width():
    found = estimate([np.full(5, 2.0)], iqm, 100)
    assert (found.low, found.value, found.high) == (2, 2, 2)


def test_students_interval_of_five_differences_holds_the_truth_19_times_in_20():
    """The bootstrap's, of which `mean_difference` says that it is too narrow, does so 17 times."""
    draws = RNG.normal(1.0, 3.0, size=(600, 5))
    student = [mean_difference(five) for five in draws]
    drawn = estimate([draws], mean, 500)
    assert np.mean([found.low <= 1 <= found.high for found in student]) == pytest.approx(0.95, abs=0.025)
    assert ((drawn.low <= 1) & (drawn.high >= 1)).mean() < 0.88
    assert student[0].value == draws[0].mean()


def test_two_differences_have_no_interval():
    found = mean_difference(np.array([1.0, 3.0]))
    assert (found.value, found.has_interval) == (2, False)


def test_an_unpaired_difference_is_welch_s():
    one, other = np.array([1.0, 4.0, 2.0, 8.0]), np.array([0.0, 0.5, -3.0])
    theirs = ttest_ind(one, other, equal_var=False).confidence_interval()
    assert np.array(unpaired_difference(one, other)) == pytest.approx(
        [one.mean() - other.mean(), theirs.low, theirs.high]
    )
    assert [*unpaired_difference(np.full(3, 5.0), np.full(4, 3.0))] == [2, 2, 2]
    assert not unpaired_difference(one, other[:2]).has_interval
