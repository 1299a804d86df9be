"""Runs whose learning broke down, which would flatter a method if they were left out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from agents.reports.analysis import SCORES
from agents.reports.run import Points, Run

_NAMED = 3


def with_breakdowns(runs: Sequence[Run], notes: list[str]) -> list[Run]:
    """The runs, those whose learning broke down with scores from there to the end that they should have had.

    These are the lowest score that the run has had, or where it has had none, that any run of its environment has had.

    Args:
        runs: of any environments.
        notes: gets a line on those of each environment.
    """
    lowest: dict[tuple[str, str], float] = {}
    for run in runs:
        for tag in SCORES:
            if tag in run.metrics:
                least = float(run.metrics[tag].values.min())
                lowest[run.env, tag] = min(least, lowest.get((run.env, tag), math.inf))
    for env in dict.fromkeys(run.env for run in runs):
        if broken := [run for run in runs if run.env == env and run.broke_down is not None]:
            notes.append(_line(env, broken))
    return [run if run.broke_down is None else _to_its_end(run, run.broke_down, lowest) for run in runs]


def _to_its_end(run: Run, step: float, lowest: Mapping[tuple[str, str], float]) -> Run:
    scores = {}
    for tag in SCORES:
        if (run.env, tag) in lowest:
            before = run.metrics.get(tag, Points.of([])).up_to(step)
            low = float(before.values.min()) if len(before.values) else lowest[run.env, tag]
            after = [(step, low), (max(step, run.planned), low)]
            scores[tag] = Points.of([*zip(*before, strict=True), *after])
    return dataclasses.replace(run, metrics={**run.metrics, **scores})


def _line(env: str, broken: Sequence[Run]) -> str:
    named = ", ".join(f"{run.name} at step {run.broke_down:,.0f}" for run in broken[:_NAMED])
    more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
    return f"{env}: learning broke down in some runs, which count from there on with their lowest score: {named}{more}"
