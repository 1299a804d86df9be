"""Runs with a normalizer and with another or none, of one agent on one task, from the tables of sweeps."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agents.reports.bootstrap import Estimate, mean_difference, probability_of_improvement, unpaired_difference
from agents.reports.run import Numbers

NONE = "none"


class Comparison(NamedTuple):
    """Final scores of one agent on one task, compared on the seeds that a normalizer and the baseline have."""

    agent: str
    """As the list names it, which may be a link in Markdown."""
    task: str
    """The environment's id."""
    scores: dict[str, dict[int, float]]
    """By normalizer and seed."""
    baseline: str = NONE
    """The normalizer that the others are compared with."""

    @property
    def agent_name(self) -> str:
        """The agent without its link."""
        return re.sub(r"\[(.*?)\]\(.*?\)", r"\1", self.agent)

    @property
    def task_name(self) -> str:
        """The id without namespace and version: SpaceInvaders of MinAtar/SpaceInvaders-v1."""
        return re.sub(r"-v\d+$", "", self.task.rpartition("/")[2])

    def finals(self, norm: str) -> tuple[Numbers, Numbers]:
        """The scores with a normalizer and those with the baseline, each [N], in the order of their common seeds."""
        ours, theirs = self.scores.get(norm, {}), self.scores.get(self.baseline, {})
        seeds = sorted(ours.keys() & theirs.keys())
        return np.array([ours[seed] for seed in seeds]), np.array([theirs[seed] for seed in seeds])

    def mean_difference(self, norm: str) -> Estimate:
        """Score with the normalizer less that with the baseline, by seed, with Student's interval."""
        ours, theirs = self.finals(norm)
        return mean_difference(ours - theirs)

    def unpaired_difference(self, norm: str) -> Estimate:
        """The same difference, with Welch's interval, which takes the runs with one seed for no pair."""
        return unpaired_difference(*self.finals(norm))

    def effect(self, norm: str) -> Estimate:
        """`mean_difference` and its bounds over the standard deviation of a score over seeds, pooled of both.

        Where neither has a spread, infinite, or 0 if all scores are the same.
        """
        ours, theirs = self.finals(norm)
        deviation = ((ours.var(ddof=1) + theirs.var(ddof=1)) / 2) ** 0.5
        with np.errstate(divide="ignore"):
            return Estimate(*(bound / deviation if bound else bound for bound in self.mean_difference(norm)))

    def probability(self, norm: str) -> float:
        """That a run with the normalizer scores higher than one with the baseline, ties counted half."""
        return float(probability_of_improvement(*self.finals(norm)))


def read_comparisons(path: Path, baseline: str = NONE) -> list[Comparison]:
    """The comparisons of a list, in its order.

    Args:
        path: CSV with the columns `agent`, `task`, `runs` and `none`: tables of runs in the list's folder, with the
            columns `task`, `norm`, `seed` and `final score`; `none` is another table for the runs without a
            normalizer, or empty.
        baseline: the normalizer that the others are compared with.

    Raises:
        ValueError: a file is missing or is not one, runs are there twice, or a comparison is, or a seed is no whole
            number.
    """
    found: list[Comparison] = []
    for line in _lines(path, {"agent", "task", "runs", "none"}):
        agent, task = line["agent"], line["task"]
        if not line["runs"]:
            raise ValueError(f"{path} names no table of runs for {agent}, {task}")
        if any((agent, task) == (other.agent, other.task) for other in found):
            raise ValueError(f"{path} has {agent}, {task} twice")
        scores = _scores(path.parent / line["runs"], task)
        if line["none"]:
            scores[NONE] = _scores(path.parent / line["none"], task).get(NONE, {})
        if not scores.get(baseline) and baseline == NONE:
            raise ValueError(f"{path.parent / (line['none'] or line['runs'])} has no run of {task} with {NONE}")
        found.append(Comparison(agent, task, scores, baseline))
    if not found:
        raise ValueError(f"{path} lists no comparison")
    return found


def _scores(path: Path, task: str) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    agents = set()
    for line in _lines(path, {"task", "norm", "seed", "final score"}):
        if line["task"] != task:
            continue
        agents.add(line.get("agent", ""))
        seed, score = _seed(path, line), _number(path, line, "final score")
        of_norm = found.setdefault(line["norm"], {})
        if seed in of_norm:
            raise ValueError(f"{path} has two runs of {task} with {line['norm']} and seed {seed}")
        of_norm[seed] = score
    if len(agents) > 1:
        raise ValueError(f"{path} has runs of {' and '.join(sorted(agents))}: give each agent a table of its own")
    return found


def _seed(path: Path, line: dict[str, str]) -> int:
    seed = _number(path, line, "seed")
    if not seed.is_integer():
        run = f"{line['task']} with {line['norm']}"
        raise ValueError(f"{path}: a run of {run} has the seed {line['seed']!r}, which is no whole number")
    return int(seed)


def _number(path: Path, line: dict[str, str], column: str) -> float:
    try:
        value = float(line[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        run = f"{line['task']} with {line['norm']} and seed {line['seed'] or '?'}"
        raise ValueError(f"{path}: a run of {run} has the {column} {line[column]!r}")
    return value


def _lines(path: Path, columns: set[str]) -> Iterator[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file, restkey="", restval="", strict=True)
            if missing := sorted(columns - set(lines.fieldnames or ())):
                raise ValueError(f"{path} has no column {', '.join(missing)}")
            for line in lines:
                yield {name: cell.strip() for name, cell in line.items() if name}
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no table: {error}") from error
