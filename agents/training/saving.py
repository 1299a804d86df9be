"""What a run writes to go on from, and to be used: checkpoints and models."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from agents.learner.finite import NonFiniteError, holds_non_finite
from agents.runtime.background import Background
from agents.runtime.distributed import Ranks
from agents.training.protocols import Agent
from agents.training.run_directory import RunDirectory
from agents.training.task import Task
from wnrl.checkpoints.checkpoints import Checkpoints, NullCheckpoints
from wnrl.checkpoints.streams import Stream
from wnrl.checkpoints.tensor_files import CheckpointError, UnreadableError, read_model, write_model
from wnrl.normalizers.folding import fold


class Saving:
    """Writes the checkpoints and models of a run into its folder, never one with a number that is not finite.

    Args:
        name: of the agent.
        agent: that learns.
        task: that it learns.
        state: what a checkpoint holds, a copy of now.
        directory: of the run; None: nothing is written.
        ranks: the processes of the run; the first one writes the models.
        message: called with a line of text where a checkpoint was begun and could not be written.

    Attributes:
        checkpoints: of this process.
    """

    def __init__(
        self,
        name: str,
        agent: Agent,
        task: Task,
        state: Callable[[], dict[str, Any]],
        directory: RunDirectory | None,
        ranks: Ranks,
        message: Callable[[str], None],
    ) -> None:
        self._name, self._agent, self._task, self._state = name, agent, task, state
        self._directory, self._rank, self._alone = directory, ranks.rank, ranks.world_size == 1
        self._background, self._message, self._step = Background(agent.learner.device), message, 0
        self._streams: list[Stream] = []
        self.checkpoints: Checkpoints | NullCheckpoints = NullCheckpoints()
        if directory is not None:
            self.checkpoints = Checkpoints(directory.checkpoints_of(ranks.rank))

    def save(self, step: int) -> None:
        """Write a checkpoint, and the model of now as `model`.

        Raises:
            CheckpointError: a file cannot be written, or the folder is gone.
            NonFiniteError: a weight is not finite; what is there stays.
        """
        self.begin(step)
        self._background.end()

    def begin(self, step: int) -> None:
        """As `save`, but the files are written while the run goes on, see `tell`; one is written at a time."""
        if self._directory is not None:
            _check_there(self._directory)
            self._begin(self._directory, self.checkpoints, step)

    @property
    def writes(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._background.works

    def tell(self, wait: bool = False) -> None:
        """Say so if the checkpoint that was begun last could not be written.

        Args:
            wait: until it is written; without, nothing is said before.
        """
        if wait or not self.writes:
            try:
                self._background.end()
            except Exception as error:  # such as one of memory
                self._message(f"no checkpoint at step {self._step:,}: {error}")

    def abandon(self) -> None:
        """Write no further at the checkpoint that was begun last."""
        for stream in self._streams:
            stream.close()

    def save_somewhere(self, step: int, create: Callable[[Path], RunDirectory]) -> None:
        """Save, or else write all of it into another folder: next to the run's own, or among temporary files.

        Args:
            step: of now.
            create: makes another folder.

        Raises:
            CheckpointError: the run's folder cannot be written; the message names the other one, if there is any.
            NonFiniteError: as `save`.
        """
        try:
            self.save(step)
        except CheckpointError as error:
            assert self._directory is not None
            for path in _other_places(self._directory.path) if self._alone else ():
                try:
                    self.save_to(create(path), step)
                except ValueError:
                    continue
                raise CheckpointError(f"{error}; checkpoint and model of step {step:,} are in {path}") from error
            raise

    def rescue(
        self, step: int, error: BaseException, create: Callable[[Path], RunDirectory], *, at_once: bool = False
    ) -> None:
        """Keep what an error leaves of the run, and say where.

        Args:
            step: of now.
            error: that has ended the run.
            create: as in `save_somewhere`.
            at_once: whether nothing is written any more, not even the checkpoint that was begun.

        Raises:
            NonFiniteError: that is what the error comes from; the last checkpoint and models stay.
        """
        if at_once:
            self.abandon()
        with suppress(Warning):
            self.tell(wait=True)
        if at_once or isinstance(error, CheckpointError) or self._directory is None:
            return
        try:
            if isinstance(error, NonFiniteError):
                raise error  # the weights may be finite, but learning would break down again
            self._agent.settle()
            self._agent.learner.check_finite(step)
            if self._alone:  # else processes broke off at different steps
                self.save_somewhere(step, create)
                self._say(f"the run broke off at step {step:,}: it can go on from there")
        except NonFiniteError as broken:
            last = self.checkpoints.last_step
            kept = f"that of step {last:,} stays, from which it can go on" if last >= 0 else "there is none before"
            self._say(f"no checkpoint of step {step:,}, where learning broke down: {kept}")
            if not isinstance(error, NonFiniteError):
                raise broken from error
        except Exception as problem:  # of the device, or of what has ended the run
            self._say(f"no checkpoint at step {step:,}: {problem}")

    def _say(self, text: str) -> None:
        """Show a line while an error is on its way, which a warning that is made an error must not replace."""
        with suppress(Warning):
            self._message(text)

    def save_to(self, directory: RunDirectory, step: int) -> None:
        """Write a checkpoint and the model of now into another folder, see `save`; where that fails, nothing stays."""
        try:
            self._begin(directory, Checkpoints(directory.checkpoints), step)
            self._background.end()
        except Exception:
            directory.discard()
            raise

    def save_best(self, step: int, score: float, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Write the model of a step as `best`, with its score; raises as `save`.

        Args:
            step: of the model.
            score: mean of its evaluation.
            tensors: what `tensors` was at that step; None: it is now.
        """
        if self._directory is not None:
            _check_there(self._directory)
            if tensors is None:
                self._agent.settle()
                self._agent.learner.check_finite(step)
            self._model(self._directory, "best", step, score, tensors)()

    def tensors(self) -> dict[str, Tensor]:
        """A copy of what a model of now holds."""
        self._agent.settle()
        return fold(self._agent.learner.network).state_dict()

    def best_score(self, message: Callable[[str], None]) -> float:
        """The score of the best model, which may be of after the last checkpoint; -inf where there is none.

        Args:
            message: called with a line of text where the model is damaged.

        Raises:
            UnreadableError: it may be whole but cannot be read, so that it must not be replaced.
        """
        if self._directory is None or not (self._directory.path / "best.safetensors").exists():
            return -math.inf
        try:
            score = read_model(self._directory.path / "best")[1].get("mean_reward")
        except UnreadableError:
            raise
        except CheckpointError as error:
            message(f"the best model is damaged and will be replaced: {error}")
            return -math.inf
        return float(score) if isinstance(score, int | float) else -math.inf

    def _begin(self, directory: RunDirectory, checkpoints: Checkpoints | NullCheckpoints, step: int) -> None:
        self.tell(wait=True)
        self._agent.settle()
        self._agent.learner.check_finite(step)
        self._step = step
        write_model = None if self._rank else self._model(directory, "model", step)
        state = self._state()
        self._streams = [leaf for leaf in tree_leaves(state) if isinstance(leaf, Stream)]

        def write() -> None:
            try:
                _check_there(directory)
                if write_model is not None:
                    write_model()
                _check_there(directory)
                checkpoints.save(step, state)
            finally:
                self.abandon()

        self._background.begin(write)

    def _model(
        self,
        directory: RunDirectory,
        name: str,
        step: int,
        score: float | None = None,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> Callable[[], None]:
        """What writes a model, of now if no tensors are given."""
        description = {
            "agent": self._name,
            "network": self._agent.learner.description,
            **self._task.describe(),
            "play": self._agent.evaluation_options,
            "step": step,
            "mean_reward": score,
        }
        return partial(write_model, directory.path / name, tensors or self.tensors(), description)


def _check_there(directory: RunDirectory) -> None:
    """Raise CheckpointError where the folder is gone: it would be made anew, without what was in it."""
    if not directory.path.is_dir():
        raise CheckpointError(f"the run's folder {directory.path} is gone: was it renamed?")


def check_checkpoint(state: Mapping[str, Any]) -> None:
    """Raise CheckpointError where a weight in a checkpoint, or an average of its optimizer, is not finite."""
    trainer = state.get("trainer")
    agent = trainer.get("agent") if isinstance(trainer, Mapping) else None
    learner = agent.get("learner") if isinstance(agent, Mapping) else None
    if isinstance(learner, Mapping) and (place := holds_non_finite(learner)):
        raise CheckpointError(f"the checkpoint is not finite: {place}")


def _other_places(path: Path) -> Iterator[Path]:
    """Folders to write to where a run's own cannot be written: next to it, then that of temporary files."""
    if not path.exists():
        yield path
    name = f"{path.resolve().name}-rescued"
    yield path.resolve().with_name(name)
    yield Path(tempfile.mkdtemp(prefix=f"{name}-"))
