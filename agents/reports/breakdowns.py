"""Runs whose learning broke down, which would flatter a method if they were left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from agents.reports.analysis import SCORES
from agents.reports.run import Points, Run

_NAMED = 3


def with_breakdowns(runs: Sequence[Run], notes: list[str]) -> list[Run]:
    """The runs, those whose learning broke down with scores from there to the end that they should have had.

    These are the lowest score that any run of the environment has had, in training or in evaluations, so that none of
    them is better off. Where no run there has a score, they stay as they are.

    Args:
        runs: of any environments.
        notes: gets a line on those of each environment.
    """
    changed: dict[str, Run] = {}
    for env in dict.fromkeys(run.env for run in runs):
        together = [run for run in runs if run.env == env]
        scores = [run.metrics[tag] for run in together for tag in SCORES if tag in run.metrics]
        broken = [run for run in together if run.broke_down is not None]
        if scores and broken:
            low, end = min(points.values.min() for points in scores), max(points.steps[-1] for points in scores)
            tags = [tag for tag in SCORES if any(tag in run.metrics for run in together)]
            changed |= {run.name: _to_its_end(run, tags, float(low), float(end)) for run in broken}
            notes.append(_line(env, broken, float(low)))
    return [changed.get(run.name, run) for run in runs]


def _to_its_end(run: Run, tags: Sequence[str], low: float, end: float) -> Run:
    assert run.broke_down is not None
    scores, first = {}, run.broke_down + 1
    for tag in tags:
        before = run.metrics.get(tag, Points.of([(0, low)])).up_to(run.broke_down)
        after = [(first, low), (max(first, run.planned, end), low)]
        scores[tag] = Points.of([*zip(*before, strict=True), *after])
    return dataclasses.replace(run, metrics={**run.metrics, **scores})


def _line(env: str, broken: Sequence[Run], low: float) -> str:
    named = ", ".join(f"{run.name} at step {run.broke_down:,.0f}" for run in broken[:_NAMED])
    more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
    count = f"{len(broken)} {'run' if len(broken) == 1 else 'runs'}"
    counted = f"from there on counted with the lowest score of all, {low:.4g}"
    return f"{env}: learning broke down in {count}, {counted}: {named}{more}"
