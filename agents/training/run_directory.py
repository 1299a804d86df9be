"""The folder of a run: its settings, figures, checkpoints and models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agents.settings.run import RunSettings
from wnrl.checkpoints.checkpoints import save_model

PACKAGES = ("wnrl", "torch", "numpy", "gymnasium", "ale-py", "stable-baselines3")


class RunDirectory:
    """A run's folder, made by `create` or found again by `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"

    @classmethod
    def create(cls, settings: RunSettings, agent: str) -> RunDirectory:
        """Make the folder and write `config.json`: every setting, the versions, the commit.

        Raises:
            ValueError: the folder holds a run already, or cannot be written to.
        """
        path = settings.run_dir or default_path(settings, agent)
        if path.exists() and any(path.iterdir() if path.is_dir() else [path]):
            raise ValueError(
                f"{path} already holds files: choose another --run-dir, or go on with a run by --resume {path}"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            config = {"agent": agent, "settings": to_json(settings), "command": sys.argv, **provenance()}
            (path / "config.json").write_text(json.dumps(config, indent=2) + "\n")
            (path / "checkpoints").mkdir()
        except OSError as error:
            raise ValueError(f"cannot write the run to {path}: {error.strerror}") from error
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Find a run's folder again.

        Raises:
            ValueError: the folder holds no run, or cannot be written to.
        """
        if not (path / "config.json").is_file():
            raise ValueError(f"{path} is not the folder of a run: it has no config.json")
        if not os.access(path, os.W_OK):
            raise ValueError(f"cannot write the run to {path}: no permission")
        return cls(path)

    @property
    def config(self) -> dict[str, Any]:
        """What `config.json` says.

        Raises:
            ValueError: it is not readable.
        """
        try:
            return json.loads((self.path / "config.json").read_text())
        except ValueError as error:
            raise ValueError(f"{self.path / 'config.json'} is damaged: {error}") from error

    def checkpoints_of(self, rank: int) -> Path:
        """The folder of one process's checkpoints; that of the first is `checkpoints` itself."""
        return self.checkpoints / f"process-{rank}" if rank else self.checkpoints

    def save_model(self, name: str, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
        """Write `NAME.safetensors` with `NAME.json`."""
        save_model(self.path / name, dict(tensors), dict(description))


def default_path(settings: RunSettings, agent: str) -> Path:
    """`runs/GAME-AGENT-NORM-sSEED-TIME`, with a number behind where that is taken."""
    task = settings.task.replace("/", "_")
    stem = f"{task}-{agent}-{settings.norm}-s{settings.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, number = Path("runs") / stem, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{stem}-{number}"
    return path


def provenance() -> dict[str, Any]:
    """Versions of Python and of the packages, and the git commit of the source tree if there is one.

    The version of torch names the build too (`2.14.1+cu130`), which its metadata may leave out.
    """
    versions = {"python": sys.version.split()[0], **{name: metadata.version(name) for name in PACKAGES}}
    versions["torch"] = torch.__version__
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None
    return {"versions": versions, "git_commit": commit, "started": time.strftime("%Y-%m-%dT%H:%M:%S%z")}


def to_json(settings: Any) -> dict[str, Any]:
    """A dataclass of settings as JSON-able values."""
    assert is_dataclass(settings)
    assert not isinstance(settings, type)
    return {name: _plain(value) for name, value in asdict(settings).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
