"""Statistics of scores over runs and tasks, with stratified bootstrap intervals.

Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice": each task is a stratum,
whose runs are drawn again with replacement; an interval spans the 2.5th to the 97.5th percentile of the statistic.
Differences by seed have Student's interval, since five of them drawn again give one that is too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from agents.reports.run import Numbers

FEWEST = 3
"""Runs of each task below which there is no interval."""
_NUMBERS = 20_000_000  # drawn at once

Statistic = Callable[..., Any]
"""Of one array [..., N] a task, along the last axis; returns [...]."""


class Estimate(NamedTuple):
    """A statistic and its 95 % interval, which is NaN where there are too few runs."""

    value: Numbers
    low: Numbers
    high: Numbers

    @property
    def has_interval(self) -> bool:
        """Whether there are enough runs for one."""
        return not bool(np.isnan(self.low).any())


def estimate(tasks: Sequence[Numbers], statistic: Statistic, resamples: int = 2000, seed: int = 0) -> Estimate:
    """A statistic of runs with its stratified bootstrap interval.

    Args:
        tasks: [..., N] for each task, with the scores of its N runs; N may differ.
        statistic: of them.
        resamples: draws.
        seed: of the draws.
    """
    value = np.asarray(statistic(*tasks, axis=-1), dtype=float)
    if min(task.shape[-1] for task in tasks) < FEWEST:
        nothing = np.full_like(value, np.nan)
        return Estimate(value, nothing, nothing)
    from scipy.stats import bootstrap

    at_once = max(1, min(resamples, _NUMBERS // sum(task.size for task in tasks)))
    rng = np.random.default_rng(seed)
    found = bootstrap(
        tasks, statistic, n_resamples=resamples, batch=at_once, method="percentile", vectorized=True, axis=-1, rng=rng
    ).confidence_interval
    return Estimate(value, np.asarray(found.low), np.asarray(found.high))


def mean_difference(pairs: Numbers) -> Estimate:
    """The mean of differences [N] between two runs each, with Student's t interval of N − 1 degrees of freedom."""
    count, value = len(pairs), np.asarray(pairs.mean())
    if count < FEWEST:
        return Estimate(value, np.asarray(np.nan), np.asarray(np.nan))
    return _with_t_interval(value, pairs.std(ddof=1) / count**0.5, count - 1)


def unpaired_difference(one: Numbers, other: Numbers) -> Estimate:
    """The difference of two means, of runs [N] and [M], with Welch's t interval, which knows no pairs."""
    value = np.asarray(one.mean() - other.mean())
    if min(len(one), len(other)) < FEWEST:
        return Estimate(value, np.asarray(np.nan), np.asarray(np.nan))
    squares = [runs.var(ddof=1) / len(runs) for runs in (one, other)]
    total = sum(squares)
    if not total:
        return Estimate(value, value, value)
    freedom = total**2 / sum(square**2 / (len(runs) - 1) for square, runs in zip(squares, (one, other), strict=True))
    return _with_t_interval(value, total**0.5, freedom)


def _with_t_interval(value: Numbers, error: float, freedom: float) -> Estimate:
    """A value with standard error `error` and its interval by Student's t of so many degrees of freedom."""
    from scipy.stats import t

    half = t.ppf(0.975, freedom) * error
    return Estimate(value, np.asarray(value - half), np.asarray(value + half))


def iqm(*tasks: Numbers, axis: int = -1) -> Numbers:
    """Interquartile mean of all tasks' runs together: the mean without the lowest and the highest quarter."""
    from scipy.stats import trim_mean

    return trim_mean(np.concatenate(tasks, axis=axis), 0.25, axis=axis)


def mean(*tasks: Numbers, axis: int = -1) -> Numbers:
    """Mean over tasks of the mean over runs."""
    return np.mean([task.mean(axis) for task in tasks], axis=0)


def median(*tasks: Numbers, axis: int = -1) -> Numbers:
    """Median over tasks of the mean over runs."""
    return np.median([task.mean(axis) for task in tasks], axis=0)


def optimality_gap(*tasks: Numbers, axis: int = -1) -> Numbers:
    """How far runs fall short of a score of 1, on average over all tasks' runs."""
    return 1 - np.minimum(np.concatenate(tasks, axis=axis), 1).mean(axis)


def share(*tasks: Numbers, axis: int = -1) -> Numbers:
    """Mean over all tasks' runs; of truth values the share that is true."""
    return np.concatenate(tasks, axis=axis).mean(axis)


def probability_of_improvement(*tasks: Numbers, axis: int = -1) -> Numbers:
    """Mean over tasks of P(X > Y) + P(X = Y)/2 for a run of X and a run of Y.

    Args:
        tasks: X's scores for each task, then Y's.
        axis: the last.
    """
    half = len(tasks) // 2
    wins = []
    for x, y in zip(tasks[:half], tasks[half:], strict=True):
        above = x[..., :, None] - y[..., None, :]
        wins.append(((above > 0) + 0.5 * (above == 0)).mean((-2, -1)))
    return np.mean(wins, axis=0)


def profile(tasks: Sequence[Numbers], thresholds: Numbers, resamples: int = 2000) -> Estimate:
    """Performance profile: the share of runs whose score is above each threshold.

    Args:
        tasks: scores [N] for each task.
        thresholds: [T].
        resamples: draws.
    """
    above = [(task > thresholds[:, None]).astype(float) for task in tasks]  # [T, N]
    return estimate(above, share, resamples)
