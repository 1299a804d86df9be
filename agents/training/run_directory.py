"""The folder of a run: its configuration, metrics, checkpoints, models and videos."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.training.provenance import provenance

class RunDirectory:
    """A run's folder, made by `create` or opened by `open`.

    Attributes:
        path: of the folder.
        checkpoints: folder of the checkpoints of the first process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any], *, resumable: bool = True) -> RunDirectory:
        """Make the folder and write `config.json`: the configuration, the command, the versions, the commit.

        Args:
            path: of the folder.
            config: JSON-able; usually the agent's name and every setting.
            resumable: whether the run leaves checkpoints.

        Raises:
            ValueError: the folder holds a run already, or cannot be written to.
        """
        if path.exists() and any(path.iterdir() if path.is_dir() else [path]):
            advice = f", or continue a run with --resume {path}" if resumable else ""
            raise ValueError(f"{path} already holds files: choose another --run-dir{advice}")
        try:
            path.mkdir(parents=True, exist_ok=True)
            written = {**config, "command": sys.argv, **provenance()}
            (path / "config.json").write_text(json.dumps(written, indent=2) + "\n")
            if resumable:
                (path / "checkpoints").mkdir()
        except OSError as error:
            raise ValueError(f"cannot write the run to {path}: {error.strerror}") from error
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Open the folder of an existing run.

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
        """The contents of `config.json`.

        Raises:
            ValueError: it is not readable.
        """
        try:
            return json.loads((self.path / "config.json").read_text())
        except ValueError as error:
            raise ValueError(f"{self.path / 'config.json'} is damaged: {error}") from error

    def change_settings(self, **settings: Any) -> None:
        """Write these settings into `config.json`, as a run that goes on has them.

        Raises:
            ValueError: it is not readable.
            CheckpointError: it cannot be written, and is as it was.
        """
        from wnrl.checkpoints.tensor_files import replace_file  # torch comes with it, see `provenance`

        config = self.config
        config["settings"].update(settings)
        replace_file(self.path / "config.json", lambda path: path.write_text(json.dumps(config, indent=2) + "\n"))

    def checkpoints_of(self, rank: int) -> Path:
        """The folder of a process's checkpoints; for the first process, `checkpoints` itself."""
        return self.checkpoints / f"process-{rank}" if rank else self.checkpoints


def default_path(task: str, agent: str, norm: str, seed: int) -> Path:
    """`runs/TASK-AGENT-NORM-sSEED-TIME`, with a number appended where that exists."""
    stem = f"{task.replace('/', '_')}-{agent}-{norm}-s{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, number = Path("runs") / stem, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{stem}-{number}"
    return path
