"""Runs with a normalizer and without, of one agent on one task, from the tables of sweeps."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agents.reports.bootstrap import Estimate, mean_difference, probability_of_improvement
from agents.reports.run import Numbers

BASELINE = "none"


class Comparison(NamedTuple):
    """Final scores of one agent on one task."""

    agent: str
    """As the list names it, which may be a link in Markdown."""
    task: str
    """The environment's id."""
    scores: dict[str, dict[int, float]]
    """By normalizer and seed."""

    @property
    def agent_name(self) -> str:
        """The agent without its link."""
        return re.sub(r"\[(.*?)\]\(.*?\)", r"\1", self.agent)

    @property
    def task_name(self) -> str:
        """The id without namespace and version: SpaceInvaders of MinAtar/SpaceInvaders-v1."""
        return re.sub(r"-v\d+$", "", self.task.rpartition("/")[2])

    def finals(self, norm: str) -> Numbers:
        """The scores of a normalizer, [N]."""
        return np.array(list(self.scores[norm].values()))

    def differences(self, norm: str) -> Numbers:
        """Score with the normalizer less that without one, [N] for the seeds that both have."""
        one, other = self.scores[norm], self.scores[BASELINE]
        return np.array([one[seed] - other[seed] for seed in one if seed in other])

    def mean_difference(self, norm: str) -> Estimate:
        """The mean of `differences` with Student's interval."""
        return mean_difference(self.differences(norm))

    def effect(self, norm: str) -> Estimate:
        """`mean_difference` in standard deviations of a score over seeds, pooled of both (Cohen's d).

        Where neither has a spread, infinite, or 0 if all scores are the same.
        """
        deviation = ((self.finals(norm).var(ddof=1) + self.finals(BASELINE).var(ddof=1)) / 2) ** 0.5
        with np.errstate(divide="ignore"):
            return Estimate(*(bound / deviation if bound else bound for bound in self.mean_difference(norm)))

    def probability(self, norm: str) -> float:
        """That a run with the normalizer scores higher than one without, ties counted half."""
        return float(probability_of_improvement(self.finals(norm), self.finals(BASELINE)))


def read_comparisons(path: Path) -> list[Comparison]:
    """The comparisons of a list, in its order.

    Args:
        path: CSV with the columns `agent`, `task`, `runs` and `none`: tables of runs in the list's folder, with the
            columns `task`, `norm`, `seed` and `final score`; `none` is another table for the runs without a
            normalizer, or empty.

    Raises:
        ValueError: a file is missing or is not one, or runs are missing or there twice.
    """
    lines = list(_lines(path, {"agent", "task", "runs", "none"}))
    if not lines:
        raise ValueError(f"{path} lists no comparison")
    return [_comparison(path.parent, line) for line in lines]


def _comparison(folder: Path, line: dict[str, str]) -> Comparison:
    scores = _scores(folder / line["runs"], line["task"])
    if line["none"]:
        scores[BASELINE] = _scores(folder / line["none"], line["task"]).get(BASELINE, {})
    if not scores.get(BASELINE):
        raise ValueError(f"{folder / (line['none'] or line['runs'])} has no run of {line['task']} with {BASELINE}")
    return Comparison(line["agent"], line["task"], scores)


def _scores(path: Path, task: str) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for line in _lines(path, {"task", "norm", "seed", "final score"}):
        if line["task"] != task:
            continue
        try:
            seed, score = int(line["seed"]), float(line["final score"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
        if not np.isfinite(score):
            raise ValueError(f"{path}: the final score of {task} with {line['norm']} and seed {seed} is {score}")
        of_norm = found.setdefault(line["norm"], {})
        if seed in of_norm:
            raise ValueError(f"{path} has two runs of {task} with {line['norm']} and seed {seed}")
        of_norm[seed] = score
    return found


def _lines(path: Path, columns: Iterable[str]) -> Iterable[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file, restval="")
            if missing := sorted(set(columns) - set(lines.fieldnames or ())):
                raise ValueError(f"{path} has no column {', '.join(missing)}")
            yield from lines
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no table: {error}") from error
