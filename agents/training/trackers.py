"""Where a run's metrics go: TensorBoard and `progress.csv`, and Weights & Biases where it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agents.settings.flat import to_json
from agents.settings.presets.base import Observation
from agents.settings.run import TrainSettings
from agents.training.agent_spec import AgentSpec
from wnrl.tracking.tracker import RunTracker, Tracker, Trackers
from wnrl.tracking.wandb_tracker import WandbTracker, check_wandb

FIRST = ("norm", "learning_rate", "seed", "agent")
"""Settings that are shown first, next to the task."""
PATHS = ("run_dir", "resume", "config")
"""Settings that say nothing of the run itself."""


def check_tracking(settings: TrainSettings[Any], *, keep: bool) -> None:
    """Raise ValueError where what is asked for is not installed, or the run has no folder, which it needs.

    Args:
        settings: of the run.
        keep: whether it has a folder.
    """
    if settings.run.wandb:
        check_wandb()
        if not keep:
            raise ValueError("wandb needs the folder of a run: give learn() a run_dir, or leave wandb out")


def open_tracker(
    settings: TrainSettings[Any], folder: Path, resumed: int | None, message: Callable[[str], None]
) -> Tracker:
    """The tracker of a run.

    Args:
        settings: of the run.
        folder: of the run.
        resumed: the step at which it continues; None for a new run.
        message: called with a line of text where something of a resumed run's metrics is damaged.
    """
    tracker = RunTracker(folder, resumed, message)
    return Trackers([tracker, WandbTracker(folder)]) if settings.run.wandb else tracker


def record_settings(tracker: Tracker, spec: AgentSpec, settings: TrainSettings[Any], observation: Observation) -> None:
    """Record the settings of a new run, next to those that its preset has by itself.

    Args:
        tracker: of the run.
        spec: of its agent.
        settings: of the run.
        observation: what its task shows, see `agents.training.task.Task.observation`.
    """
    defaults = spec.defaults({"preset": settings.run.preset}, observation=observation)
    named = {"agent": spec.name}
    tracker.settings(in_order({**named, **to_json(settings)}), {**named, **to_json(defaults)})


def in_order(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by flat name, those first that runs are compared by, without paths."""
    task = "env" if values.get("game") is None else "game"
    names = dict.fromkeys([*FIRST, task, *values])
    return {name: values[name] for name in names if name in values and name not in PATHS}
