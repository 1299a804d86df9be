"""The scores of a sweep's finished trials, as a report has them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from agents.reports.analysis import SCORES, Choices, analyse
from agents.reports.breakdowns import with_breakdowns
from agents.reports.cells import Cell
from agents.reports.curves import Method, group
from agents.reports.findings import Analysis
from agents.reports.run import Run, as_game
from agents.reports.tables import Table, score_table
from agents.reports.wnrl_runs import read_wnrl_run
from agents.sweeps.csv_file import write_csv
from agents.sweeps.sweep_folder import SweepFolder
from agents.sweeps.trials import Trial, combinations

RESAMPLES = 2_000
OUTCOMES = ("broke down", "missing")
"""Columns of `scores.csv`: how many runs' learning broke down, and how many runs of the plan have no score."""


def analysis_of(folder: SweepFolder, trials: Sequence[Trial]) -> Analysis | None:
    """The statistics of the finished trials; None where no trial has finished."""
    finished = [trial for trial in trials if folder.finished(trial)]
    runs = with_breakdowns([_run_of(folder, trial) for trial in finished], [])
    scored = [run for run in runs if any(tag in run.metrics for tag in SCORES)]
    if not scored:
        return None
    varied = sorted({name for trial in trials for name in trial.varied})
    return analyse(group(scored, varied), Choices(None, None, {}, {}, RESAMPLES))


def _run_of(folder: SweepFolder, trial: Trial) -> Run:
    """The run of a trial; where the sweep varies `hyperparams`, its text is a setting beside the values in it."""
    run = read_wnrl_run(folder.run_of(trial), [])
    if "hyperparams" not in trial.varied:
        return run
    return dataclasses.replace(run, settings={**run.settings, "hyperparams": trial.shown("hyperparams")})


def report_settings(trials: Sequence[Trial]) -> list[str]:
    """The settings by which a report tells the trials apart: for `hyperparams` each that a trial names."""
    names = [name for name in trials[0].varied if name != "hyperparams"]
    if len(names) < len(trials[0].varied):
        words = [word for trial in trials for word in trial.settings["hyperparams"]]
        names += dict.fromkeys(f"hyperparams.{word.partition(':')[0]}" for word in words)
    return names


def final_scores(folder: SweepFolder, trials: Sequence[Trial]) -> dict[str, float]:
    """The final score of each finished trial, by its name."""
    return {name: final for name, (final, _) in _by_trial(analysis_of(folder, trials)).items()}


def _by_trial(analysis: Analysis | None) -> dict[str, tuple[float, float]]:
    """Final and highest score by the trial's name."""
    found: dict[str, tuple[float, float]] = {}
    for result in [] if analysis is None else [curve for env in analysis.environments for curve in env.curves]:
        for run, final, best in zip(result.curve.runs, result.finals, result.bests, strict=True):
            found[Path(run.name).name] = (float(final), float(best))
    return found


def write_scores(folder: SweepFolder, trials: Sequence[Trial]) -> Table | None:
    """Write `trials.csv`, the state and the final score of each trial, and `scores.csv`, the statistics by curve.

    A trial whose learning broke down counts as in a report, see `agents.reports.breakdowns`.

    The same trials give the same files, however often the sweep was stopped on the way.

    Returns:
        The statistics, with the columns of `OUTCOMES` where one of them is not 0; None where no trial has finished.

    Raises:
        ValueError: the runs cannot be compared; then `trials.csv` has no scores, and there is no `scores.csv`.
    """
    try:
        analysis = analysis_of(folder, trials)
    except ValueError:
        _write_trials(folder, trials, {})
        _remove_statistics(folder)
        raise
    finals = _by_trial(analysis)
    _write_trials(folder, trials, finals)
    if analysis is None:
        _remove_statistics(folder)
        return None
    scores = score_table(analysis)
    whole = _with_outcomes(scores, analysis, trials, _outcomes(folder, trials, finals))
    write_csv(folder.path / "scores.csv", whole.plain_rows())
    shown = whole if any(count for row in whole.rows for count in row[-len(OUTCOMES) :]) else scores
    return shown._replace(title=f"final scores, the mean of {analysis.tag} over the last tenth of the steps")


def _remove_statistics(folder: SweepFolder) -> None:
    """Those of an earlier command, which would stand beside the trials of this one."""
    (folder.path / "scores.csv").unlink(missing_ok=True)


def _with_outcomes(
    table: Table, analysis: Analysis, trials: Sequence[Trial], outcomes: Mapping[str, tuple[int, int]]
) -> Table:
    """The table of scores with the columns of `OUTCOMES`, and a row for each group of trials that all lack a score."""
    group_of = {trial.name: trial.group for trial in trials}
    curves = [result.curve for env in analysis.environments for result in env.curves]
    groups = [group_of[Path(curve.runs[0].name).name] for curve in curves]
    rows = [(*row, *outcomes[name]) for row, name in zip(table.rows, groups, strict=True)]
    for trial in combinations(trials):
        if trial.group not in groups:
            rows.append((*_row_without_scores(trial, table.head), *outcomes[trial.group]))
    return table._replace(head=(*table.head, *OUTCOMES), rows=tuple(rows))


def _outcomes(folder: SweepFolder, trials: Sequence[Trial], scored: Collection[str]) -> dict[str, tuple[int, int]]:
    """The cells of `OUTCOMES` by group of trials."""
    broke_down = Counter(trial.group for trial in trials if folder.breakdown_of(trial) is not None)
    missing = Counter(trial.group for trial in trials if trial.name not in scored)
    return {trial.group: (broke_down[trial.group], missing[trial.group]) for trial in trials}


def _row_without_scores(trial: Trial, head: Sequence[str]) -> list[Cell]:
    method = Method(trial.agent, trial.norm, tuple((name, trial.shown(name)) for name in trial.varied))
    env = as_game(trial.task) if trial.game else trial.task
    known: dict[str, Cell] = {"method": str(method), "environment": env, "seeds": 0}
    return [known.get(name) for name in head]


def _write_trials(folder: SweepFolder, trials: Sequence[Trial], finals: Mapping[str, tuple[float, float]]) -> None:
    """Write `trials.csv`, with the final and the highest scores that there are."""
    varied = sorted({name for trial in trials for name in trial.varied})
    head = ["agent", "task", "norm", *varied, "seed", "steps", "broke down", "final score", "highest score"]
    rows = []
    for trial in trials:
        scores = [repr(round(score, 6)) for score in finals.get(trial.name, ())] or ["", ""]
        about = [trial.agent, trial.task, trial.norm, *map(trial.shown, varied)]
        broke_down = folder.breakdown_of(trial)
        steps = [str(folder.steps_of(trial)), "" if broke_down is None else str(broke_down)]
        rows.append([*about, str(trial.seed), *steps, *scores])
    write_csv(folder.path / "trials.csv", [head, *rows])
