"""Measure a trained model over whole games: python scripts/evaluate.py RUN_DIR --episodes 30 --video"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from agents.commands.parser import fail, read
from agents.training.saved_model import measure


@dataclass(frozen=True)
class Evaluate:
    """Which model is measured, and how."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    episodes: int = 30
    """Whole games to play."""
    epsilon: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """Share of random actions; the run's own in evaluation by default."""
    model: Literal["auto", "best", "last"] = "auto"
    """The model with the best evaluation, or the last one; auto is the best where the run evaluated, else the last."""
    num_envs: int = 8
    """Games played at once."""
    seed: int = 0
    """Of the games and of random actions."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto (CUDA where there is one)."""
    video: bool = False
    """Write the first game to RUN_DIR/videos as MP4."""


def main() -> int:
    """Parse the command line and measure; the exit code."""
    try:
        arguments = read(Evaluate, __doc__ or "")
        print(measure(**vars(arguments)))
        return 0
    except ValueError as error:
        fail(error)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
