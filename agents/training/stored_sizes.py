"""Sizes in the settings of a run that is resumed, compared with its checkpoint before anything of them is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.settings.flat import to_flat
from agents.settings.run import TrainSettings
from agents.settings.trust import MOST, size_above
from wnrl.checkpoints.checkpoints import Checkpoints
from wnrl.checkpoints.files import CheckpointError

IN_CHECKPOINT = {"num_envs": "/trainer/statistics/running", "rollout_length": "/trainer/agent/storage/reward"}
"""The tensor in checkpoints that is as long as a setting says."""


def check_sizes(settings: TrainSettings[Any], path: Path, checkpoints: Path, processes: int = 1) -> None:
    """Raise CheckpointError where a size is not the one of the newest checkpoint, or far above what is used.

    The network is compared where it is made, and a replay buffer with the memory that is free.

    Args:
        settings: of this process.
        path: of the run.
        checkpoints: the folder of this process's checkpoints.
        processes: of the run.
    """
    flat, found = to_flat(settings), Checkpoints(checkpoints)
    shapes = found.shapes()
    for name, tensor in IN_CHECKPOINT.items():
        if name in flat and (length := next(iter(shapes.get(tensor, ())), 0)) != flat[name]:
            check_processes(found.latest()[1], processes)
            raise CheckpointError(f"{path} has {name} {flat[name]:,}, its checkpoint {length:,}: one is damaged")
    if not settings.run.trust and (size := size_above(flat, MOST)):
        raise CheckpointError(f"{path} has {size}: add --trust (trust=True) if you know why")


def check_processes(checkpoint: Mapping[str, Any], number: int) -> None:
    """Raise ValueError where a checkpoint is of a run of another number of processes."""
    if (made := checkpoint.get("processes", 1)) != number:
        raise ValueError(f"the run is one of {made} processes: start as many (torchrun --nproc-per-node {made})")
