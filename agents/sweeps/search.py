"""Searches: the best settings of each agent, task and normalizer, on seeds that no comparison reports."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from agents.sweeps.plan import Override, values_of
from agents.sweeps.trials import Trial

DECADE = 10.0
"""A range whose ends differ by this factor is searched in the logarithm."""


WORST = -1e30
"""What a run counts in a search whose learning broke down: finite, so that ASHA can take percentiles."""


class Range(NamedTuple):
    """Numbers between two ends, both included."""

    low: float
    high: float
    whole: bool

    @property
    def log(self) -> bool:
        """Whether its logarithm is drawn uniformly."""
        return self.low > 0 and self.high / self.low >= DECADE

    def __contains__(self, value: object) -> bool:
        """Whether it can be drawn; ends that were drawn in the logarithm are rounded."""
        if not isinstance(value, (int, float)):
            return False
        slack = 1e-12 * max(abs(self.low), abs(self.high))
        return self.low - slack <= value <= self.high + slack and (not self.whole or value == round(value))


Space = dict[str, "Range | tuple[Any, ...]"]
"""What is searched, by setting: a range, or values."""


def space_of(texts: Sequence[str]) -> Space:
    """The space of `learning_rate=1e-4:1e-2` and `minibatches=2,4,8`.

    Raises:
        ValueError: an entry is neither.
    """
    space: Space = {}
    for text in texts:
        name, _, values = text.partition("=")
        name = name.strip("-").replace("-", "_")
        if not name or not values or name in space:
            raise ValueError(f"--tune takes NAME=LOW:HIGH or NAME=A,B,C, each name once, got {text!r}")
        ranges = ":" in values and name != "hyperparams"  # whose values are NAME:VALUE
        space[name] = _range(text, values) if ranges else values_of(values.split(","))
    return space


def _range(text: str, values: str) -> Range:
    try:
        low, high = map(float, values.split(":"))
    except ValueError:
        raise ValueError(f"--tune takes two numbers in a range, NAME=LOW:HIGH, got {text!r}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"the ends of a range must be finite, the lower first, got {text!r}")
    return Range(low, high, all(end.lstrip("-").isdecimal() for end in values.split(":")))


def grid_of(space: Space) -> dict[str, tuple[Any, ...]]:
    """The axes of an exhaustive search.

    Raises:
        ValueError: there is a range.
    """
    for name, values in space.items():
        if isinstance(values, Range):
            raise ValueError(f"{name} has a range: add --samples 20, or list its values, {name}=1e-4,3e-4")
    return {name: values for name, values in space.items() if not isinstance(values, Range)}


def ends_of(space: Space) -> list[dict[str, Any]]:
    """Settings of a space that have each end of its ranges and each listed value at least once."""
    values = {name: (v.low, v.high) if isinstance(v, Range) else v for name, v in space.items()}
    most = max(map(len, values.values()))
    return [{name: each[min(place, len(each) - 1)] for name, each in values.items()} for place in range(most)]


class Candidate(NamedTuple):
    """Settings that a search has tried, and their score."""

    trial: Trial
    """One of its runs."""
    settings: Mapping[str, Any]
    """Of those that are searched."""
    score: float
    """Mean over its runs."""
    complete: bool = True
    """Whether its runs made all the steps of the search, and none was stopped early."""


def candidates(
    trials: Sequence[Trial], scores: Mapping[str, float], names: Sequence[str], broken: Collection[str] = ()
) -> list[Candidate]:
    """The settings that trials have tried, each with the mean score of its runs; those with a run that has none are
    left out, and those with one whose learning broke down are the worst.

    Args:
        trials: of a search.
        scores: final score by name of the trial.
        names: of the settings that are searched.
        broken: names of the trials whose learning broke down.
    """
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.group, []).append(trial)
    return [
        Candidate(
            group[0],
            {name: group[0].settings[name] for name in names},
            WORST if any(trial.name in broken for trial in group) else fmean(scores[trial.name] for trial in group),
        )
        for group in groups.values()
        if all(trial.name in scores or trial.name in broken for trial in group)
    ]


def best_overrides(found: Sequence[Candidate]) -> list[Override]:
    """The best settings of each agent, task and normalizer, as a sweep takes them; of equal ones the first.

    With none of them learning breaks down. Those whose runs were stopped early are taken only where no others are left:
    their score is that of fewer steps.
    """
    return [
        Override(
            {"agent": (agent,), "game" if one.trial.game else "env": (task,), "norm": (norm,)}, _plain(one.settings)
        )
        for (agent, task, norm), one in _best(found).items()
    ]


def stopped_best(found: Sequence[Candidate]) -> list[str]:
    """The agents, tasks and normalizers, as one text each, whose best settings are of a run that was stopped early."""
    return [" ".join(kind) for kind, one in _best(found).items() if not one.complete]


def _best(found: Sequence[Candidate]) -> dict[tuple[str, str, str], Candidate]:
    best: dict[tuple[str, str, str], Candidate] = {}
    for one in found:
        key = _kind(one.trial)
        if one.score > WORST and (key not in best or _rank(one) > _rank(best[key])):
            best[key] = one
    return best


def _rank(one: Candidate) -> tuple[bool, float]:
    return one.complete, one.score


def without_best(trials: Sequence[Trial], found: Sequence[Candidate]) -> dict[str, bool]:
    """The agents, tasks and normalizers of a search, as one text each, for which no settings are the best.

    Returns:
        Of each, whether some of its settings were tried to the end: with all of these learning broke down.
    """
    tried = {_kind(one.trial) for one in found}
    worked = {_kind(one.trial) for one in found if one.score > WORST}
    return {" ".join(kind): kind in tried for kind in dict.fromkeys(map(_kind, trials)) if kind not in worked}


def _kind(trial: Trial) -> tuple[str, str, str]:
    return trial.agent, trial.task, trial.norm


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if not isinstance(value, (bool, tuple)) else value for name, value in settings.items()}
