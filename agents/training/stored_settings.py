"""The settings of a run that has been made, from its `config.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.settings.earlier import EARLIER
from agents.settings.flat import flat_defaults, from_flat
from agents.settings.run import TrainSettings
from agents.training.agent_spec import AgentSpec
from agents.training.run_directory import RunDirectory


def stored_settings(spec: AgentSpec, path: Path) -> TrainSettings[Any]:
    """The settings of the run in a folder, as they continue it: `resume` and `run_dir` are that folder.

    Args:
        spec: of its agent.
        path: of the folder.

    Raises:
        ValueError: there is no such run, or it is one of another agent or of a version that cannot be continued.
    """
    kind = TrainSettings[spec.settings]  # type: ignore[name-defined]
    stored, names = RunDirectory.open(path).config["settings"], flat_defaults(kind).keys()
    if "batch_statistics" in names - stored.keys() and "batch" in stored["norm"]:
        raise ValueError(f"{path} learned with other batch statistics than it acted with, which no version does now")
    stored = {name: EARLIER[name] for name in EARLIER.keys() & names} | stored
    if stored.get("schedule_steps") is None:
        stored["schedule_steps"] = stored["steps"]
    if differing := sorted(names ^ stored.keys()):
        raise ValueError(f"{path} was made by another agent or version: its settings differ in {differing}")
    return from_flat(kind, {**stored, "hidden": tuple(stored["hidden"]), "resume": path, "run_dir": path})
