"""The tables of comparisons: one row for each, and one for each normalizer over all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from comparison_study.comparison import Comparison
from rate_study.report import markdown

from agents.reports.bootstrap import FEWEST, Estimate, iqm, mean_difference


def comparison_table(comparisons: Sequence[Comparison], norm: str) -> str:
    """A Markdown table of a normalizer beside the baseline: IQMs, difference by seed, probability of improvement."""
    rows, agent = [], None
    for comparison in comparable(comparisons, norm):
        ours, theirs = comparison.finals(norm)
        rows.append(
            [
                "" if comparison.agent == agent else comparison.agent,
                comparison.task_name,
                str(len(ours)),
                *(number(float(iqm(scores))) for scores in (theirs, ours)),
                with_interval(comparison.mean_difference(norm)),
                f"{comparison.probability(norm):.2f}",
            ]
        )
        agent = comparison.agent
    names = [f"`{name}`" for name in (comparisons[0].baseline, norm)]
    return markdown(["agent", "task", "seeds", *names, "mean difference by seed", "better (ties half)"], rows)


def overall_table(comparisons: Sequence[Comparison]) -> str:
    """A Markdown table of how often each normalizer is better than the baseline, over all comparisons that have it."""
    rows, baseline = [], comparisons[0].baseline
    for norm in dict.fromkeys(norm for comparison in comparisons for norm in comparison.scores if norm != baseline):
        if having := _having(comparisons, norm):
            paired = _outside_0([comparison.mean_difference(norm) for comparison in having])
            unpaired = _outside_0([comparison.unpaired_difference(norm) for comparison in having])
            better = with_interval(overall(having, norm), decimals=2)
            rows.append([f"`{norm}`", str(len(having)), *paired, better, ", ".join(unpaired)])
    head = ["normalizer", "comparisons", "ahead", "behind", f"better than `{baseline}` (ties half)", "unpaired"]
    return markdown(head, rows)


def _outside_0(intervals: Sequence[Estimate]) -> list[str]:
    """How many intervals are above 0, and how many below."""
    return [str(sum(each.low > 0 for each in intervals)), str(sum(each.high < 0 for each in intervals))]


def overall(comparisons: Sequence[Comparison], norm: str) -> Estimate:
    """The mean over comparisons of the probability of improvement, with Student's interval over the comparisons.

    It is one for comparisons like these, if they are taken as drawn by chance from some larger number, independently of
    each other; how much a single one varies with its seeds is in it. The interval is cut at 0 and 1.
    """
    found = mean_difference(np.array([comparison.probability(norm) for comparison in comparable(comparisons, norm)]))
    return Estimate(*(np.clip(each, 0, 1) for each in found))


def comparable(comparisons: Sequence[Comparison], norm: str) -> list[Comparison]:
    """The comparisons with enough seeds of the normalizer and the baseline for an interval.

    Raises:
        ValueError: there are none.
    """
    found = _having(comparisons, norm)
    baseline = comparisons[0].baseline
    if norm == baseline or not found:
        names = dict.fromkeys(name for comparison in comparisons for name in comparison.scores if name != baseline)
        others = ", ".join(name for name in names if _having(comparisons, name)) or "none"
        raise ValueError(f"no comparison of {norm!r} with {baseline!r} has {FEWEST} seeds; there are {others}")
    return found


def left_out(comparisons: Sequence[Comparison], norm: str) -> list[Comparison]:
    """The comparisons that have the normalizer, but not enough seeds of it and the baseline."""
    found = _having(comparisons, norm)
    return [comparison for comparison in comparisons if norm in comparison.scores and comparison not in found]


def _having(comparisons: Sequence[Comparison], norm: str) -> list[Comparison]:
    return [comparison for comparison in comparisons if len(comparison.finals(norm)[0]) >= FEWEST]


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
