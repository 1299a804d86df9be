"""What an analysis of runs finds: the contents of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from agents.reports.bootstrap import Estimate
from agents.reports.curves import Curve, Method
from agents.reports.run import Numbers, Run
from agents.reports.score_scales import Scale


class CurveResult(NamedTuple):
    """A curve with its statistics."""

    curve: Curve
    steps: Numbers
    """[P]."""
    band: Estimate
    """IQM over runs at each step, [P]."""
    finals: Numbers
    """Final score of each run, [N]."""
    bests: Numbers
    """Best score of each run, [N]."""
    final: Estimate
    """IQM of `finals`."""

    @property
    def by_seed(self) -> dict[int, float]:
        """Final scores by seed; of several runs with one seed, which may be taken together, their mean."""
        scores: dict[int, list[float]] = {}
        for run, score in zip(self.curve.runs, self.finals, strict=True):
            if run.seed is not None:
                scores.setdefault(run.seed, []).append(float(score))
        return {seed: fmean(values) for seed, values in scores.items()}


class EnvironmentResult(NamedTuple):
    """The curves of one environment, which begin and end at the same steps."""

    env: str
    curves: tuple[CurveResult, ...]
    scale: Scale
    threshold: tuple[float, str] | None


class ThresholdResult(NamedTuple):
    """When the runs of a curve came to a score."""

    curve: Curve
    threshold: float
    source: str
    reached: int
    """Runs that did."""
    steps: float
    """Median over all runs, infinite where half of them did not."""
    seconds: float


class Aggregate(NamedTuple):
    """Statistics over environments of a method's scores, each on its environment's scale."""

    method: Method
    runs: int
    statistics: Mapping[str, Estimate]
    profile: Estimate


class Block(NamedTuple):
    """Methods over the environments in which each of them has runs."""

    envs: tuple[str, ...]
    scores: Numbers
    """Thresholds of the profiles, [T]; of one environment they are its scores, of several they are scaled."""
    aggregates: tuple[Aggregate, ...]

    def __str__(self) -> str:
        return self.envs[0] if len(self.envs) == 1 else f"{len(self.envs)} environments ({', '.join(self.envs)})"


class Improvement(NamedTuple):
    """What a method's runs are beside those of the baseline."""

    env: str | None
    """None for the mean over environments."""
    method: Method
    baseline: Method
    probability: Estimate
    """That a run of the method scores higher."""
    difference: Estimate | None
    """Mean difference of final scores, each seed's run from the baseline's of that seed; None without a seed in common,
    and over several environments."""
    pairs: int
    """Seeds in common; 0 over several environments."""

    @property
    def instead(self) -> str:
        """The normalizer or the setting's value that the baseline has and the method has not."""
        if self.baseline.norm != self.method.norm:
            return self.baseline.norm
        return ", ".join(f"{name} {value}" for name, value in self.baseline.by if (name, value) not in self.method.by)


@dataclass(frozen=True)
class Analysis:
    """All that a report shows."""

    tag: str
    environments: tuple[EnvironmentResult, ...]
    thresholds: tuple[ThresholdResult, ...]
    blocks: tuple[Block, ...]
    improvements: tuple[Improvement, ...]
    notes: tuple[str, ...]
    against: str | None = None
    """Setting against whose values final scores are drawn."""

    @property
    def runs(self) -> list[Run]:
        """All of them."""
        return [run for env in self.environments for result in env.curves for run in result.curve.runs]
