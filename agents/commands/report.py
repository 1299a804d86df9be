"""The command that compares runs: curves, statistics and figures in one page."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from agents.commands.parser import fail, read
from agents.runtime.output_text import make_output_safe

if TYPE_CHECKING:
    from agents.reports.run import Run

_RANGE = tyro.conf.arg(metavar="ENV=LOW:HIGH")
_THRESHOLD = tyro.conf.arg(metavar="ENV=SCORE")


@dataclass(frozen=True)
class ReportSettings:
    """The compared runs, and how."""

    dirs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Folders that hold runs, at any depth: of this library, or TensorBoard logs of stable-baselines3 and CleanRL."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("report")
    """Folder of the report: a new or an empty one, or that of an earlier report."""
    title: str = "Comparison of runs"
    """Heading of the page."""
    by: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SETTING")] = ()
    """Settings each of whose values has a curve of its own, beside agent, environment and normalizer."""
    across: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SETTING")] = ()
    """Settings that may differ between the runs of a curve; others than the seed are refused."""
    against: Annotated[str | None, tyro.conf.arg(metavar="SETTING")] = None
    """Setting with numbers, learning_rate for example: final scores are drawn against its values too."""
    score: Annotated[str | None, tyro.conf.arg(metavar="TAG")] = None
    """Metric that is compared; by default eval/mean_reward where all runs have it, else rollout/ep_rew_mean."""
    baseline: Annotated[str | None, tyro.conf.arg(metavar="NORM|SETTING=VALUE")] = None
    """Normalizer, or value of a setting of --by or --against, that the others are compared with; by default none."""
    threshold: Annotated[tuple[str, ...], _THRESHOLD] = ()
    """Scores to which steps and wall time are counted; by default a human's on Atari, else Gymnasium's."""
    score_range: Annotated[tuple[str, ...], _RANGE] = ()
    """Scores that count as 0 and 1 in averages over environments.
    By default random play and a human on Atari, else the range of all runs."""
    folders: Annotated[str | None, tyro.conf.arg(metavar="PATTERN")] = None
    """What the last folders of TensorBoard logs name, for example {norm}/{env}/{agent}_{seed}."""
    min_steps: int = 0
    """Runs that ended before this step, or whose score did, are left out."""
    resamples: int = 2000
    """Draws of the bootstrap."""

    def __post_init__(self) -> None:
        if not self.dirs:
            raise ValueError("name a folder that holds runs: runs, for example")
        if self.min_steps < 0:
            raise ValueError(f"min_steps must not be negative, got {self.min_steps}")
        if self.resamples < 100:
            raise ValueError(f"resamples must be at least 100, got {self.resamples}")


def main(description: str) -> int:
    """Compare runs and write the report, as `scripts/report.py` does; returns the exit code."""
    make_output_safe()
    try:
        settings = read(ReportSettings, description)
        page, notes = report(settings)
    except ValueError as error:
        fail(error)
    except KeyboardInterrupt:
        return 130
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(page)
    return 0


def report(settings: ReportSettings) -> tuple[str, list[str]]:
    """Write the report.

    Returns:
        A line on it, and what to know of the runs, a line each.

    Raises:
        ValueError: there is nothing that can be compared, or it cannot be written.
    """
    from agents.reports.analysis import SCORES, Choices, analyse
    from agents.reports.breakdowns import with_breakdowns
    from agents.reports.curves import group
    from agents.reports.discovery import find_runs
    from agents.reports.drawing import check_drawing
    from agents.reports.event_runs import folder_pattern
    from agents.reports.page import summary
    from agents.reports.report_folder import check_folder, write_report
    from agents.reports.sensitivity import checked_numbers

    check_drawing()
    check_folder(settings.out)
    thresholds = {env: values[0] for env, values in _by_env("threshold", settings.threshold, 1).items()}
    ranges = {env: (low, high) for env, (low, high) in _by_env("score-range", settings.score_range, 2).items()}
    pattern = None if settings.folders is None else folder_pattern(settings.folders)
    runs, notes = find_runs(settings.dirs, pattern)
    if settings.score in (None, *SCORES):
        runs = with_breakdowns(runs, notes)
    usable, by = _usable(runs, settings, notes), settings.by
    curves = group(usable, by if settings.against is None else (*by, settings.against), settings.across)
    against = None if settings.against is None else checked_numbers(curves, settings.against)
    choices = Choices(settings.score, settings.baseline, thresholds, ranges, settings.resamples, against)
    analysis = analyse(curves, choices)
    notes = [*notes, *analysis.notes]
    page = write_report(settings.out, settings.title, analysis, notes)
    return f"{summary(analysis)} {page}", notes


def _by_env(flag: str, texts: tuple[str, ...], count: int) -> dict[str, tuple[float, ...]]:
    """The numbers of ENV=NUMBER or ENV=LOW:HIGH, by environment."""
    found = {}
    for text in texts:
        env, _, values = text.rpartition("=")
        try:
            numbers = tuple(float(value) for value in values.split(":"))
        except ValueError:
            numbers = ()
        if not env or len(numbers) != count or not all(map(math.isfinite, numbers)):
            raise ValueError(f"--{flag} takes ENV={'LOW:HIGH' if count == 2 else 'SCORE'}, got {text!r}")
        if count == 2 and numbers[0] >= numbers[1]:
            raise ValueError(f"--{flag} needs a HIGH above LOW, got {text!r}")
        found[env] = numbers
    return found


def _usable(runs: list[Run], settings: ReportSettings, notes: list[str]) -> list[Run]:
    """The runs that have a score and are long enough; the others are noted."""
    from agents.reports.analysis import SCORES

    kept = []
    for run in runs:
        end = max((points.steps[-1] for points in run.metrics.values()), default=0.0)
        if end < settings.min_steps:
            notes.append(_ends_early(run, "it", end, settings.min_steps))
        elif settings.score is None and not any(tag in run.metrics for tag in SCORES):
            why = f"it has neither {SCORES[0]} nor {SCORES[1]}; --score names another metric"
            if run.broke_down is not None:
                why = f"its learning broke down at step {run.broke_down:,.0f}, and no run on {run.env} has a score"
            notes.append(f"{run.name} is left out: {why}")
        else:
            kept.append(run)
    kept = _with_long_scores(kept, settings, notes)
    if not kept:
        raise ValueError(f"no run is left: {notes[-1]}")
    return kept


def _with_long_scores(runs: list[Run], settings: ReportSettings, notes: list[str]) -> list[Run]:
    """The runs whose score, which may be another once some are left out, is long enough; the others are noted."""
    from agents.reports.analysis import score_tag

    while runs and settings.min_steps:
        tag = score_tag(runs, settings.score)
        ends = [float(run.metrics[tag].steps[-1]) for run in runs]
        if min(ends) >= settings.min_steps:
            break
        early = [(run, end) for run, end in zip(runs, ends, strict=True) if end < settings.min_steps]
        notes += [_ends_early(run, f"its {tag}", end, settings.min_steps) for run, end in early]
        runs = [run for run, end in zip(runs, ends, strict=True) if end >= settings.min_steps]
    return runs


def _ends_early(run: Run, what: str, end: float, min_steps: int) -> str:
    broke = ", where its learning broke down" if run.broke_down is not None else ""
    return f"{run.name} is left out: {what} ends at step {end:,.0f}{broke}, before --min-steps {min_steps:,}"
