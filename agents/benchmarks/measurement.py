"""What every measurement of `scripts/benchmark.py` has: a dataclass of arguments, and a table of its figures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from agents.runtime.devices import Precision

Figures = tuple[dict[str, Any], str]  # what --json writes, and a table


@dataclass(frozen=True)
class Measurement:
    """Options of every measurement."""

    threads: int = 0
    """Threads of torch; 0 leaves its default. A small network of ours has one, as in a run."""
    precision: Precision = "auto"
    """Precision of our networks' products; auto: bfloat16 for images where the hardware has it."""
    device: str = "auto"
    """cpu, cuda, or auto (CUDA where available)."""
    json: Path | None = None
    """File to write the figures to."""

    images: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("rounds", "steps", "batch_size", "calls", "num_envs", "capacity", "updates"):
            if getattr(self, name, 1) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.threads < 0:
            raise ValueError(f"threads must not be negative, got {self.threads}")
        if self.json and not can_be_written(self.json):
            raise ValueError(f"cannot write to {self.json}: name a file in a folder that exists, --json figures.json")

    def set_threads(self) -> None:
        """Set the number of torch's threads, if one was given."""
        if self.threads:
            torch.set_num_threads(self.threads)

    def measure(self, device: torch.device) -> Figures:
        """The figures, and a table of them."""
        raise NotImplementedError


@dataclass(frozen=True)
class Timing(Measurement):
    """A measurement of time."""

    rounds: int = 7
    """Timings per side; the sides take turns."""


def can_be_written(path: Path) -> bool:
    """Whether a file can be written there, by what is there now."""
    return not os.path.isdir(path) and os.access(path if os.path.exists(path) else path.parent, os.W_OK)


def rate_table(rows: dict[str, dict[str, float]]) -> str:
    """Table of steps per second and ratios."""
    width = max(24, 1 + max(map(len, rows)))
    lines = [f"{name:{width}}{row['median']:10.0f}{row['ratio']:8.2f}" for name, row in rows.items()]
    return "\n".join([f"{'':{width}}{'steps/s':>10}{'ratio':>8}", *lines])
