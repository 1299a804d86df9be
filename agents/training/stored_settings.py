"""The settings of a run that has been made, from its `config.json`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.settings.earlier import migrated
from agents.settings.flat import OF_A_COMMAND, PYTHON, flat_defaults, from_flat
from agents.settings.keywords import checked_keywords
from agents.settings.run import TrainSettings
from agents.training.agent_spec import AgentSpec
from agents.training.run_directory import RunDirectory, made_by, read_config


def stored_settings(spec: AgentSpec, path: Path) -> TrainSettings[Any]:
    """The settings of the run in a folder, as they continue it: `resume` and `run_dir` are that folder.

    Args:
        spec: of its agent.
        path: of the folder.

    Raises:
        ValueError: there is no such run, or it is one of another agent or of a version that cannot be continued.
    """
    directory = RunDirectory.open(path)
    stored = _read(spec, directory.config, directory)
    if stored["schedule_steps"] is None and directory.last_step != 0:  # at step 0 its length may still change
        stored["schedule_steps"] = stored["steps"]
    return _made(spec, path, {**stored, "resume": path, "run_dir": path})


def settings_again(spec: AgentSpec, path: Path) -> TrainSettings[Any]:
    """The settings of a run for another one: `resume` and `run_dir` are None, `config` is `path`, and groups of
    environments are those that suit this machine.

    Args:
        spec: of its agent.
        path: of its `config.json`, or of its folder.

    Raises:
        ValueError: as `stored_settings`.
    """
    folder = path if os.path.isdir(path) else path.parent
    stored = _read(spec, read_config(path / "config.json" if folder == path else path), RunDirectory(folder))
    if stored["schedule_steps"] == stored["steps"]:
        stored["schedule_steps"] = None
    return _made(spec, path, {**stored, "env_groups": None, "resume": None, "run_dir": None, "config": path})


def _read(spec: AgentSpec, config: Mapping[str, Any], directory: RunDirectory) -> dict[str, Any]:
    """The settings in a configuration by flat name, as this version has them."""
    path = directory.path
    if (agent := config.get("agent")) != spec.name:
        raise ValueError(f"{path} is a run of {agent}, not of {spec.name}")
    names = flat_defaults(TrainSettings[spec.settings]).keys()  # type: ignore[name-defined]
    try:
        form, settings = config.get("format", 0), dict(config["settings"])
        if form == 0 and settings.get("normalize_output", True) is None and directory.newest_has(_POLICY_LAYER):
            settings["normalize_output"] = True
        kept = {name: value for name, value in settings.items() if name not in OF_A_COMMAND}
        stored = migrated(kept, form, names)
        own = stored.get("own_torso")
        if own is not None and not (isinstance(own, str) and own.startswith(PYTHON)):
            raise TypeError(f"own_torso is {own!r}")
        return checked_keywords(TrainSettings[spec.settings], stored)  # type: ignore[name-defined]
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} is no configuration of a run: {_short(error)}") from error
    except ValueError as error:
        version = made_by(config)
        raise ValueError(
            f"{path} cannot be continued here: {_short(error)}. It was made by {version}: use that"
        ) from error


def _made(spec: AgentSpec, path: Path, values: Mapping[str, Any]) -> TrainSettings[Any]:
    try:
        return from_flat(TrainSettings[spec.settings], values)  # type: ignore[name-defined]
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path} has settings that cannot be used: {_short(error)}") from error


def _short(error: BaseException) -> str:
    """An error in a line that ends, whatever the file holds."""
    text = " ".join(str(error).split())
    return text if len(text) <= 500 else f"{text[:500]}…"


_POLICY_LAYER = re.compile(rb"/network/policy\.[\w.]*\bg\\")
"""A g of the policy's layer. Before there were formats, `normalize_output` None came to leave that layer out; the
settings do not tell, the newest checkpoint does."""
