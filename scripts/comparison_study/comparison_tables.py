"""The tables of comparisons: one row for each, and one for each normalizer over all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from comparison_study.comparison import BASELINE, Comparison
from rate_study.report import markdown

from agents.reports.bootstrap import FEWEST, Estimate, iqm, mean_difference


def comparison_table(comparisons: Sequence[Comparison], norm: str) -> str:
    """A Markdown table of a normalizer beside none: IQMs, difference by seed, probability of improvement."""
    head = ["agent", "task", "seeds", f"`{BASELINE}`", f"`{norm}`", "mean difference by seed", "better"]
    rows, agent = [], None
    for comparison in with_norm(comparisons, norm):
        rows.append(
            [
                "" if comparison.agent == agent else comparison.agent,
                comparison.task_name,
                str(len(comparison.differences(norm))),
                *(number(float(iqm(comparison.finals(one)))) for one in (BASELINE, norm)),
                with_interval(comparison.mean_difference(norm)),
                f"{comparison.probability(norm):.2f}",
            ]
        )
        agent = comparison.agent
    return markdown(head, rows)


def overall_table(comparisons: Sequence[Comparison]) -> str:
    """A Markdown table of how often each normalizer is better than none, over all comparisons that have it."""
    rows = []
    for norm in dict.fromkeys(norm for comparison in comparisons for norm in comparison.scores if norm != BASELINE):
        if having := _having(comparisons, norm):
            ahead, behind = (str(len(differing(having, norm, sign))) for sign in (1, -1))
            better = with_interval(overall(having, norm), decimals=2)
            rows.append([f"`{norm}`", str(len(having)), ahead, behind, better])
    return markdown(["normalizer", "comparisons", "ahead", "behind", f"better than `{BASELINE}`"], rows)


def overall(comparisons: Sequence[Comparison], norm: str) -> Estimate:
    """The mean over comparisons of the probability of improvement, with Student's interval over the comparisons.

    It is one for comparisons like these, if they are taken as drawn by chance from some larger number; how much a
    single one varies with its seeds is in it.
    """
    return mean_difference(np.array([comparison.probability(norm) for comparison in with_norm(comparisons, norm)]))


def differing(comparisons: Sequence[Comparison], norm: str, sign: int) -> list[Comparison]:
    """The comparisons whose interval by seed is above 0 (`sign` 1) or below (−1)."""
    found = []
    for comparison in with_norm(comparisons, norm):
        value = comparison.mean_difference(norm)
        if min(sign * value.low, sign * value.high) > 0:
            found.append(comparison)
    return found


def with_norm(comparisons: Sequence[Comparison], norm: str) -> list[Comparison]:
    """The comparisons with enough runs of the normalizer for an interval.

    Raises:
        ValueError: there are none.
    """
    found = _having(comparisons, norm)
    if not found:
        raise ValueError(f"no comparison has {FEWEST} seeds with {norm} and with {BASELINE}")
    return found


def _having(comparisons: Sequence[Comparison], norm: str) -> list[Comparison]:
    having = [comparison for comparison in comparisons if norm in comparison.scores]
    return [comparison for comparison in having if comparison.mean_difference(norm).has_interval]


def number(value: float) -> str:
    """A score: one decimal, none from 100 on."""
    return _printed(value, 0 if abs(value) >= 99.95 else 1)


def with_interval(value: Estimate, decimals: int | None = None) -> str:
    """A value with its bounds, as `number` has them where `decimals` are not given."""
    texts = [number(float(each)) if decimals is None else _printed(float(each), decimals) for each in value]
    return f"{texts[0]} ({texts[1]} to {texts[2]})" if value.has_interval else texts[0]


def _printed(value: float, decimals: int) -> str:
    """With a minus sign as it is printed, and no −0."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")
