"""The checkpoints of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wnrl.checkpoints.tensor_files import SUFFIX, CheckpointError, read_checkpoint, write_checkpoint

__all__ = ["Checkpoints", "NullCheckpoints"]


class Checkpoints:
    """The checkpoints of one run, newest last.

    Args:
        folder: created by the first `save`; it needs space for `keep` + 1 checkpoints.
        keep: number of checkpoints to keep.

    Attributes:
        damaged: files that the last `latest` skipped, damaged or newer than wanted; the next `save` removes them.

    Raises:
        ValueError: `keep` is below 1.
    """

    def __init__(self, folder: str | Path, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep must be 1 or more, got {keep}")
        self.folder = Path(folder)
        self.damaged: list[Path] = []
        self._keep = keep

    def save(self, step: int, state: Mapping[Any, Any]) -> Path | None:
        """Write the state at `step`, then remove all but the last `keep` checkpoints.

        Raises:
            CheckpointError: as `write_checkpoint`; the earlier checkpoints are still there.
        """
        path = self.folder / f"{step:012d}{SUFFIX}"
        write_checkpoint(path, state)
        sound = [other for other in self._files() if other == path or other not in self.damaged]
        for old in (set(self._files()) - set(sound[-self._keep :])) | set(self.folder.glob(".*.tmp")):
            old.unlink(missing_ok=True)
        self.damaged = []
        return path

    @property
    def last_step(self) -> int:
        """The step of the newest checkpoint that is not known to be damaged; -1 where there is none."""
        return max((_step(path) for path in self._files() if path not in self.damaged), default=-1)

    def latest(self, device: torch.device | str = "cpu", at_most: int | None = None) -> tuple[int, dict[Any, Any]]:
        """The newest usable step and state; damaged files are skipped, and listed in `damaged`.

        Args:
            device: of the state's tensors.
            at_most: ignore checkpoints of later steps; None for no limit.

        Raises:
            CheckpointError: there is none.
        """
        reasons = []
        self.damaged = []
        for path in reversed(self._files()):
            if at_most is not None and _step(path) > at_most:
                self.damaged.append(path)
                continue
            try:
                return int(path.stem), read_checkpoint(path, device)
            except CheckpointError as error:
                self.damaged.append(path)
                reasons.append(str(error))
        raise CheckpointError(
            f"no checkpoint to resume from in {self.folder}: {'; '.join(reasons) or 'none was saved'}"
        )

    def _files(self) -> list[Path]:
        """Completely written checkpoints, oldest first."""
        return sorted((path for path in self.folder.glob(f"*{SUFFIX}") if path.stem.isdigit()), key=_step)


class NullCheckpoints:
    """Checkpoints switched off."""

    damaged: tuple[Path, ...] = ()
    last_step = -1

    def save(self, step: int, state: Mapping[Any, Any]) -> Path | None:
        """Do nothing."""
        return None

    def latest(self, device: torch.device | str = "cpu", at_most: int | None = None) -> tuple[int, dict[Any, Any]]:
        """Raise CheckpointError, as there is nothing to resume from."""
        raise CheckpointError("no checkpoint to resume from: checkpoints are switched off")


def _step(path: Path) -> int:
    return int(path.stem)
