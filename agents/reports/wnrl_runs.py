"""Runs of this library, read from `config.json`, `progress.csv` and `evaluations.csv`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.reports.run import UNKNOWN, Points, Run, as_game, as_text
from agents.settings.earlier import EARLIER
from agents.training.run_directory import MOST_STEPS, broke_down, read_config
from wnrl.tracking.csv_table import read_rows

EVALUATIONS = "evaluations.csv"
ELAPSED = "time/time_elapsed"
EVALUATED = "eval/mean_reward"


def is_run(config: Mapping[str, Any]) -> bool:
    """Whether a `config.json` is that of a run of this library."""
    return isinstance(config.get("agent"), str) and isinstance(config.get("settings"), dict)


def read_wnrl_run(folder: Path, notes: list[str]) -> Run:
    """The run in a folder.

    Args:
        folder: with `config.json` and `progress.csv`.
        notes: gets a line on damaged lines, which are left out.

    Raises:
        ValueError: a file is unreadable, or it is no run of this library.
    """
    config = read_config(folder / "config.json")
    if not is_run(config):
        raise ValueError(f"{folder}/config.json names no agent and settings")
    rows = _rows(folder / "progress.csv", notes)
    times = [(float(row["step"]), elapsed) for row in rows if (elapsed := _elapsed(row)) is not None]
    tags = {tag for row in rows for tag in row} - {"step"}
    metrics = {tag: Points.of((float(row["step"]), float(row[tag])) for row in rows if row.get(tag)) for tag in tags}
    if (folder / EVALUATIONS).is_file():
        metrics[EVALUATED] = _evaluated(metrics.get(EVALUATED), _rows(folder / EVALUATIONS, notes))
    settings, agent = _settings(config), as_text(config["agent"])
    seed = config["settings"].get("seed")
    return Run(
        str(folder),
        f"sb3-{agent}" if config.get("library") else agent,
        _env(config["settings"]),
        settings.get("norm", UNKNOWN),
        seed if isinstance(seed, int) else None,
        settings,
        _made_with(config),
        {tag: points for tag, points in metrics.items() if len(points.steps)},
        _clock(times, [_number(start.get("first_step")) for start in config.get("starts") or []]),
        {} if config.get("library") else {name: as_text(value) for name, value in EARLIER.items()},
        broke_down(config),
        _number(config["settings"].get("steps")),
    )


def _env(settings: Mapping[str, Any]) -> str:
    game = settings.get("game")
    return as_game(as_text(game)) if game else as_text(settings.get("env") or UNKNOWN)


def _rows(path: Path, notes: list[str]) -> list[dict[str, str]]:
    table = read_rows(path)
    if table.dropped:
        notes.append(f"{path}: {table.dropped} damaged lines are left out")
    return table.rows


def _number(value: Any) -> float:
    """A number of steps; 0 for anything else."""
    return float(value) if isinstance(value, (int, float)) and 0 <= value <= MOST_STEPS else 0.0


def _elapsed(row: Mapping[str, str]) -> float | None:
    """Seconds since the start; runs of stable-baselines3's algorithms, never resumed, have the speed since then."""
    if row.get(ELAPSED):
        return float(row[ELAPSED])
    speed = float(row.get("time/fps") or 0)
    return float(row["step"]) / speed if speed > 0 else None


def _clock(pairs: Iterable[tuple[float, float]], first_steps: Sequence[float]) -> Points:
    """Seconds by step; the stored ones begin again at 0 with each start, whose rows are after its first step."""
    before, last, start, clock = 0.0, 0.0, 0, []
    for step, elapsed in pairs:
        now = max((index for index, first in enumerate(first_steps) if first < step), default=0)
        if now != start or elapsed < last:
            before += last
        start, last = now, elapsed
        clock.append((step, before + elapsed))
    return Points.of(clock)


def _evaluated(progress: Points | None, games: list[dict[str, str]]) -> Points:
    """Mean score of each evaluation; the table of games has those played beside the training too."""
    scores: dict[float, list[float]] = {}
    for game in games:
        if game.get("score"):
            scores.setdefault(float(game["step"]), []).append(float(game["score"]))
    older = zip(*progress, strict=True) if progress else ()
    return Points.of([*older, *((step, float(np.mean(games))) for step, games in scores.items())])


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """The settings as text; of stable-baselines3's algorithms with the values that their hyperparameters had."""
    stored = {**config["settings"]}
    if isinstance(hyperparams := config.get("hyperparams"), dict):
        stored.pop("hyperparams", None)
        stored |= {f"hyperparams.{name}": value for name, value in hyperparams.items()}
    if not config.get("library") and stored.get("schedule_steps") is None:
        stored["schedule_steps"] = stored.get("steps")
    return {name: as_text(value) for name, value in stored.items()}


def _made_with(config: Mapping[str, Any]) -> dict[str, str]:
    start = (config.get("starts") or [config])[-1]
    versions = start.get("versions") or {}
    found = {f"version of {name}": version for name, version in versions.items() if version}
    commit, dirty, _ = (start.get("git_commit") or "").partition("-dirty")
    found |= {"commit of wnrl": commit[:12] + dirty, "trained on": start.get("device")}
    return {name: as_text(value) for name, value in found.items() if value}
