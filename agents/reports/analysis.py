"""What the curves of a report say: learning curves, final scores, aggregates, thresholds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from agents.reports.baseline import NONE, Baseline, baseline_of
from agents.reports.bootstrap import (
    estimate,
    iqm,
    mean,
    mean_difference,
    median,
    optimality_gap,
    probability_of_improvement,
    profile,
)
from agents.reports.cautions import cautions
from agents.reports.curves import Curve, Method
from agents.reports.event_runs import EPISODES
from agents.reports.findings import (
    Aggregate,
    Analysis,
    Block,
    CurveResult,
    EnvironmentResult,
    Improvement,
    ThresholdResult,
)
from agents.reports.run import Numbers, Points, Run
from agents.reports.score_scales import default_threshold, scale_of

GRID = 200
"""Points of a curve."""
LAST = 0.1
"""Share of the steps at the end whose mean is the final score."""
SCORES = ("eval/mean_reward", "rollout/ep_rew_mean")
"""Tags of scores, the first that all runs have at two steps or more is taken."""
RETURNS = (*SCORES, *EPISODES)
"""Tags of returns, which those of human players can stand beside."""
_SHORT = 0.95  # of the longest run: shorter ones are named


STATISTICS: dict[str, Callable[..., Numbers]] = {
    "IQM": iqm,
    "median": median,
    "mean": mean,
    "optimality gap": optimality_gap,
}


@dataclass(frozen=True)
class Choices:
    """How curves are analysed.

    Attributes:
        score: tag of the metric; None takes the first of `SCORES` that all runs have.
        baseline: normalizer, or `SETTING=VALUE`, to which the others are compared; None takes `none`.
        thresholds: scores by environment.
        ranges: (low, high) by environment.
        resamples: of the bootstrap.
        against: setting against whose values final scores are drawn.
    """

    score: str | None
    baseline: str | None
    thresholds: Mapping[str, float]
    ranges: Mapping[str, tuple[float, float]]
    resamples: int
    against: str | None = None


def analyse(curves: Sequence[Curve], choices: Choices) -> Analysis:
    """The statistics of curves.

    Raises:
        ValueError: a run lacks the metric, runs share no steps, or a threshold or range is of no environment here.
    """
    notes: list[str] = []
    envs = list(dict.fromkeys(curve.env for curve in curves))
    for env in (*choices.thresholds, *choices.ranges):
        _check_env(env, envs)
    methods = sorted({curve.method for curve in curves}, key=[curve.method for curve in curves].index)
    baseline = baseline_of(methods, choices.baseline)
    notes += _nothing_compared(methods, choices.baseline)
    tag = score_tag([run for curve in curves for run in curve.runs], choices.score)
    environments = [_environment([c for c in curves if c.env == env], tag, choices, notes) for env in envs]
    by_method = {(env.env, result.curve.method): result for env in environments for result in env.curves}
    blocks = _blocks(environments, methods, by_method, choices.resamples)
    notes += cautions(environments, blocks, baseline)
    return Analysis(
        tag,
        tuple(environments),
        tuple(_reached(result, env, tag) for env in environments for result in env.curves if env.threshold),
        tuple(blocks),
        tuple(_improvements(environments, methods, by_method, baseline, choices.resamples)),
        tuple(notes),
        choices.against,
    )


def score_tag(runs: Sequence[Run], wanted: str | None) -> str:
    """The tag whose curves are compared, see `Choices`.

    Raises:
        ValueError: a run lacks it.
    """
    if wanted is None:
        for tag in SCORES:
            if all(tag in run.metrics and len(run.metrics[tag].steps) > 1 for run in runs):
                return tag
        wanted = next((tag for tag in SCORES if all(tag in run.metrics for run in runs)), SCORES[-1])
    for run in runs:
        if wanted not in run.metrics:
            near = get_close_matches(wanted, run.metrics, 3)
            has = (
                f"its nearest are {', '.join(near)}"
                if near
                else f"it has {', '.join(sorted(run.metrics)[:6]) or 'none'}"
            )
            raise ValueError(f"{run.name} has no metric {wanted}: {has}; choose another with --score, or leave it out")
    return wanted


def _nothing_compared(methods: Sequence[Method], wanted: str | None) -> list[str]:
    """A line where nothing is compared, since there is no `none` and no other baseline was named."""
    norms = list(dict.fromkeys(method.norm for method in methods))
    if wanted is not None or NONE in norms or len(norms) == 1:
        return []
    return [f"no run has the normalizer none, so none is compared with it: --baseline takes {', '.join(norms)}"]


def _check_env(env: str, envs: Sequence[str]) -> None:
    if env not in envs:
        raise ValueError(f"there are no runs on {env} here: choose from {', '.join(envs)}")


def _environment(curves: Sequence[Curve], tag: str, choices: Choices, notes: list[str]) -> EnvironmentResult:
    env = curves[0].env
    end = _shared_end(env, [run for curve in curves for run in curve.runs], tag, notes)
    results = tuple(_curve(curve, tag, end, choices.resamples) for curve in curves)
    threshold = (choices.thresholds[env], "given") if env in choices.thresholds else default_threshold(env)
    scale = scale_of(env, [result.finals for result in results], choices.ranges, returns=tag in RETURNS)
    return EnvironmentResult(env, results, scale, threshold if tag in SCORES or env in choices.thresholds else None)


def _shared_end(env: str, runs: Sequence[Run], tag: str, notes: list[str]) -> float:
    """The step at which the first run ends."""
    last = min(runs, key=lambda run: run.metrics[tag].steps[-1])
    ends = [float(run.metrics[tag].steps[-1]) for run in runs]
    made = [end for run, end in zip(runs, ends, strict=True) if run.broke_down is None]
    end, longest = min(ends), max(made or ends)
    if end < _SHORT * longest:
        short = sum(each < _SHORT * longest for each in ends)
        notes.append(
            f"{env}: runs have different lengths, up to {longest:,.0f} steps; all curves end at {end:,.0f}, where "
            f"{last.name} does ({short} of {len(runs)} are short; --min-steps leaves such runs out)"
        )
    return end


def _curve(curve: Curve, tag: str, end: float, resamples: int) -> CurveResult:
    points = [run.metrics[tag] for run in curve.runs]
    first = max(curve.runs, key=lambda run: run.metrics[tag].steps[0])
    start = float(first.metrics[tag].steps[0])
    if _SHORT * start > end:
        raise ValueError(
            f"runs on {curve.env} share no steps: one ends at {end:,.0f}, and {first.name} has its first {tag} at "
            f"{start:,.0f}; leave one out, or with --min-steps those that ended early"
        )
    grid = np.linspace(start, end, GRID) if end > start else np.array([start])  # rows of one interval count as one
    values = np.stack([np.interp(grid, *each) for each in points], axis=-1)  # [P, N]
    finals = values[grid >= (1 - LAST) * end].mean(0)
    own = [each.up_to(float(grid[-1])).values.max() for each in points]
    bests = np.maximum(own, values.max(0))
    band = estimate([values], iqm, resamples)
    return CurveResult(curve, grid, band, finals, bests, estimate([finals], iqm, resamples))


def _reached(result: CurveResult, env: EnvironmentResult, tag: str) -> ThresholdResult:
    assert env.threshold is not None
    threshold, source = env.threshold
    curve, end = result.curve, float(result.steps[-1])
    steps = [first_step(run.metrics[tag].up_to(end), threshold) for run in curve.runs]
    seconds = [seconds_at(run.clock, step) for run, step in zip(curve.runs, steps, strict=True)]
    reached = sum(math.isfinite(step) for step in steps)
    return ThresholdResult(curve, threshold, source, reached, _middle(steps), _middle(seconds))


def first_step(points: Points, threshold: float) -> float:
    """The first step with a value of at least the threshold; infinite where there is none."""
    above = points.steps[points.values >= threshold]
    return float(above[0]) if len(above) else math.inf


def seconds_at(clock: Points, step: float) -> float:
    """Wall time at a step; infinite at an infinite one, NaN where there is no clock."""
    if math.isinf(step):
        return math.inf
    return float(np.interp(step, *clock)) if len(clock.steps) else math.nan


def _middle(values: Sequence[float]) -> float:
    """The median; of an even number the upper one of the two in the middle, so that it is that of a run."""
    return sorted(values)[len(values) // 2] if not any(map(math.isnan, values)) else math.nan


Results = Mapping[tuple[str, Method], CurveResult]


def _blocks(
    environments: Sequence[EnvironmentResult], methods: Sequence[Method], results: Results, resamples: int
) -> list[Block]:
    """A block for each set of environments that a method has runs in, with all methods that have runs in all of them.

    One method alone is a block only where it is all that there is.
    """
    sets = dict.fromkeys(tuple(env.env for env in environments if (env.env, method) in results) for method in methods)
    blocks = []
    for envs in sorted(sets, key=len, reverse=True):
        inside = [method for method in methods if all((env, method) in results for env in envs)]
        if len(inside) > 1 or len(sets) == 1:
            blocks.append(_block([env for env in environments if env.env in envs], inside, results, resamples))
    return blocks


def _block(
    environments: Sequence[EnvironmentResult], methods: Sequence[Method], results: Results, resamples: int
) -> Block:
    scaled = {}
    for method in methods:
        finals = [results[env.env, method].finals for env in environments]
        pairs = zip(environments, finals, strict=True)
        scaled[method] = [env.scale(scores) for env, scores in pairs] if len(environments) > 1 else finals
    scores = np.concatenate([task for tasks in scaled.values() for task in tasks])
    low, high = float(scores.min()), float(scores.max())
    margin = 0.02 * (high - low) or 0.5
    grid = np.linspace(low - margin, high + margin, GRID // 2)
    found = []
    for method, tasks in scaled.items():
        statistics = {name: estimate(tasks, of, resamples) for name, of in STATISTICS.items()}
        runs = sum(len(task) for task in tasks)
        found.append(Aggregate(method, runs, statistics, profile(tasks, grid, resamples)))
    return Block(tuple(env.env for env in environments), grid, tuple(found))


def _improvements(
    environments: Sequence[EnvironmentResult],
    methods: Sequence[Method],
    results: Results,
    against: Baseline,
    resamples: int,
) -> list[Improvement]:
    """Each method against the one that is the same but for the baseline's normalizer or setting."""
    found = []
    for method in methods:
        baseline = against.of(method)
        both = [env.env for env in environments if {(env.env, method), (env.env, baseline)} <= results.keys()]
        if method == baseline or not both:
            continue
        for name, envs in [*((env, [env]) for env in both), *([(None, both)] if len(both) > 1 else [])]:
            tasks = [results[env, one].finals for one in (method, baseline) for env in envs]
            value = estimate(tasks, probability_of_improvement, resamples)
            pairs = np.array([]) if name is None else _pairs(results[name, method], results[name, baseline])
            difference = mean_difference(pairs) if len(pairs) else None
            found.append(Improvement(name, method, baseline, value, difference, len(pairs)))
    return found


def _pairs(result: CurveResult, baseline: CurveResult) -> Numbers:
    """Differences of final scores, for each seed that both have."""
    one, other = result.by_seed, baseline.by_seed
    return np.array([one[seed] - other[seed] for seed in one if seed in other])
