"""What makes a comparison say less than it seems to, a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents.reports.baseline import Baseline
from agents.reports.curves import Method
from agents.reports.findings import Block, CurveResult, EnvironmentResult

FIRST_SEARCHED = 1_000_000
"""Seeds from here on are those of a sweep's searches."""


def cautions(environments: Sequence[EnvironmentResult], blocks: Sequence[Block], baseline: Baseline) -> list[str]:
    """Lines on what is compared with nothing, or on fewer runs than there are, or counts more than other runs.

    Args:
        environments: with their curves.
        blocks: the statistics over several of them.
        baseline: that with which the others are compared.
    """
    results = [result for env in environments for result in env.curves]
    counts = {(result.curve.env, result.curve.method): len(result.finals) for result in results}
    found = [*map(_searched, results), *(_leaning(block, counts) for block in blocks)]
    found += [of(env, baseline) for env in environments for of in (_without_baseline, _without_partners)]
    return [line for line in found if line]


def _searched(result: CurveResult) -> str:
    """Where a curve has runs of a search, which were chosen by their scores, among others."""
    runs = result.curve.runs
    searched = [run for run in runs if run.seed is not None and run.seed >= FIRST_SEARCHED]
    if not 0 < len(searched) < len(runs):
        return ""
    return (
        f"{result.curve}: {len(searched)} of {len(runs)} runs have seeds of a search, from {FIRST_SEARCHED:,} on, "
        f"which chose by their scores: leave them out, {searched[0].name} for example"
    )


def _leaning(block: Block, counts: Mapping[tuple[str, Method], int]) -> str:
    """Where statistics that count runs have more of them on one environment than on another."""
    for one in block.aggregates:
        runs = {env: counts[env, one.method] for env in block.envs}
        if len(set(runs.values())) > 1:
            told = ", ".join(f"{count} on {env}" for env, count in runs.items())
            return f"IQM, optimality gap and profile over {block} lean towards more seeds: {one.method} has {told}"
    return ""


def _without_baseline(env: EnvironmentResult, baseline: Baseline) -> str:
    """Where runs of the baseline are there, but none that are else as a method."""
    methods = [result.curve.method for result in env.curves]
    if not any(method == baseline.of(method) for method in methods):
        return ""
    alone = [method for method in methods if baseline.of(method) not in methods]
    return _counted(env, [f"there is no {baseline} with the agent and settings of {method}" for method in alone])


def _without_partners(env: EnvironmentResult, baseline: Baseline) -> str:
    """Where a method and its baseline do not have the same seeds."""
    by_method = {result.curve.method: result.by_seed.keys() for result in env.curves}
    told = []
    for method, ours in by_method.items():
        theirs = by_method.get(baseline.of(method), ours)
        if ours != theirs and ours and theirs:
            told.append(
                f"{method} has {len(ours & theirs)} seeds in common with {baseline}, of {len(ours)} and {len(theirs)}: "
                "differences by seed are of those alone"
            )
    return _counted(env, told)


def _counted(env: EnvironmentResult, lines: Sequence[str]) -> str:
    """The first line, and how many there are like it."""
    if not lines:
        return ""
    return f"{env.env}: {lines[0]}" + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")
