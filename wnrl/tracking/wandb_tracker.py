"""Metrics of a run in Weights & Biases."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROJECT = "wnrl"
"""Where runs go, unless the environment variable WANDB_PROJECT says otherwise."""


def check_wandb() -> None:
    """Raise ValueError where the package wandb is not installed."""
    found = importlib.util.find_spec("wandb")
    if found is None or found.origin is None:  # a folder `wandb`, which it leaves behind, is no package
        raise ValueError("wandb is not installed: python -m pip install wandb, or leave --wandb out")


class WandbTracker:
    """A tracker that sends each scalar to Weights & Biases, over the environment step.

    Its run has the name of the folder; a file `wandb_run` in there holds its id, by which a resumed run goes on.

    Args:
        folder: the run directory.

    Raises:
        ValueError: wandb is not installed.
    """

    def __init__(self, folder: Path) -> None:
        check_wandb()
        wandb: Any = importlib.import_module("wandb")
        kept = folder / "wandb_run"
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        run_id = kept.read_text().strip() if kept.exists() else None
        self._run = wandb.init(project=project, name=folder.name, dir=str(folder), id=run_id, resume="allow")
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        kept.write_text(f"{self._run.id}\n")

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Record scalars by tag at environment step `step`."""
        self._run.log({**scalars, "step": step})

    def write_late(self, step: int, scalars: Mapping[str, float]) -> None:
        """Record scalars of a step after those of later ones: they are shown over `step`, in any order."""
        self.write(step, scalars)

    def text(self, tag: str, text: str) -> None:
        """Record a text by tag, for the whole run."""
        self._run.summary[tag] = text

    def settings(self, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        """Record the run's settings by name."""
        self._run.config.update(dict(values), allow_val_change=True)

    def close(self) -> None:
        """Flush and close."""
        self._run.finish()
