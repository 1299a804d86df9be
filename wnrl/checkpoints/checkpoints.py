"""The checkpoints of a run."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from wnrl.checkpoints.files import CheckpointError, UnreadableError, remove, saved_steps, sweep
from wnrl.checkpoints.tensor_files import SUFFIX, Shapes, read_checkpoint, read_shapes, write_checkpoint

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
        """Write the state at `step`, then remove all but the last `keep` checkpoints and this one.

        Raises:
            ValueError: `step` is below 0 or has more than 18 digits.
            CheckpointError: as `write_checkpoint`; the earlier checkpoints are still there.
        """
        if not 0 <= step < 10**18:
            raise ValueError(f"a step is at least 0 and has at most 18 digits, got {step}")
        path = self.folder / f"{step:012d}{SUFFIX}"
        write_checkpoint(path, state)
        files = list(saved_steps(self.folder).values())
        sound = [other for other in files if other == path or other not in self.damaged]
        for old in set(files) - {path, *sound[-self._keep :]}:
            remove(old)  # or by the next save, where it cannot be now
        self.damaged = [other for other in self.damaged if other != path and other.exists()]
        self.sweep()
        return path

    def sweep(self) -> None:
        """Remove what killed writers have left unfinished; nobody else may be writing here."""
        sweep(self.folder)

    @property
    def last_step(self) -> int:
        """The step of the newest checkpoint that is not known to be damaged; -1 where there is none."""
        return max((step for step, path in saved_steps(self.folder).items() if path not in self.damaged), default=-1)

    def shapes(self) -> Shapes:
        """The shapes of the tensors of the newest checkpoint whose header is whole; raises as `latest`."""
        reasons = []
        for path in reversed(saved_steps(self.folder).values()):
            try:
                return read_shapes(path)
            except UnreadableError:
                raise
            except CheckpointError as error:
                reasons.append(str(error))
        raise self._none(reasons)

    def latest(
        self,
        device: torch.device | str = "cpu",
        at_most: int | None = None,
        check: Callable[[dict[Any, Any]], None] | None = None,
    ) -> tuple[int, dict[Any, Any]]:
        """The newest usable step and state; damaged files are skipped, and listed in `damaged`.

        Args:
            device: of the state's tensors.
            at_most: ignore checkpoints of later steps; None for no limit.
            check: raises CheckpointError where a state is not to be used; the file then counts as damaged.

        Raises:
            CheckpointError: there is none.
            UnreadableError: a file may be whole but cannot be read: of a later format, or without permission.
        """
        reasons = []
        self.damaged = []
        for step, path in reversed(saved_steps(self.folder).items()):
            if at_most is not None and step > at_most:
                self.damaged.append(path)
                continue
            try:
                state = read_checkpoint(path, device)
                if check is not None:
                    check(state)
                return step, state
            except UnreadableError:
                self.damaged = []
                raise
            except CheckpointError as error:
                self.damaged.append(path)
                reasons.append(str(error))
        raise self._none(reasons)

    def _none(self, reasons: Sequence[str]) -> CheckpointError:
        return CheckpointError(
            f"no checkpoint to resume from in {self.folder}: {'; '.join(reasons) or 'none was saved'}"
        )


class NullCheckpoints:
    """Checkpoints switched off."""

    damaged: tuple[Path, ...] = ()
    last_step = -1

    def save(self, step: int, state: Mapping[Any, Any]) -> Path | None:
        """Do nothing."""
        return None

    def latest(
        self,
        device: torch.device | str = "cpu",
        at_most: int | None = None,
        check: Callable[[dict[Any, Any]], None] | None = None,
    ) -> tuple[int, dict[Any, Any]]:
        """Raise CheckpointError, as there is nothing to resume from."""
        raise CheckpointError("no checkpoint to resume from: checkpoints are switched off")
