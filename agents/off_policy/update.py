"""Updates from a replay buffer: batches are sampled, losses computed, gradient steps made, priorities updated.

Several updates are one launch where the device can capture them: what is captured is `ReplayUpdates._make`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from agents.learner.finite import NonFiniteError
from agents.learner.learner import Learner
from agents.runtime.cuda_graphs import Graphs
from agents.runtime.distributed import OneProcess, Ranks
from wnrl.replay.prioritized import NonFinitePriorityError, PrioritizedReplay
from wnrl.replay.uniform import Replay, Transition

ALONE = OneProcess()
LAUNCHES = (8, 4, 2, 1)  # updates of one launch: any number is a sum of these


class Sample(NamedTuple):
    """A batch to learn from."""

    transition: Transition
    weights: Tensor | None  # [B] float32, of the losses; None: 1 each
    indices: Tensor | None  # [B] int64, where the replay buffer has them


class Drawn(NamedTuple):
    """A batch as it was drawn, from which a pure function of tensors gathers the `Sample`."""

    numbers: Tensor  # [B], which say the places in the replay buffer
    weights: Tensor | None  # as of a `Sample`
    indices: Tensor | None


class Sampler(Protocol):
    """Draws batches from a replay buffer."""

    replay: Replay
    draws_ahead: bool
    """Whether batches can be drawn before the priorities of those drawn last are updated."""

    def anneal(self, step: int) -> None:
        """The next batches are for updates at environment step `step`."""

    def sample(self, batch_size: int, ranks: Ranks = ALONE) -> Sample:
        """A batch, one of those of all `ranks`; all that it depends on and that changes is on the device."""

    def draw(self, batch_size: int, ranks: Ranks = ALONE) -> Drawn:
        """As `sample`, before the transitions are gathered."""

    def gather(self, drawn: Drawn) -> Sample:
        """The batch that was drawn; a pure function of tensors."""

    def update_priorities(self, sample: Sample | Drawn, priority: Tensor) -> None:
        """Give a batch its new priorities `[B]`, at least 0."""

    def check(self) -> None:
        """Raise ValueError where a priority was not finite since the last call; may wait for the device."""


class UniformSampler:
    """Every transition is as likely as any other.

    Args:
        replay: the buffer.
    """

    draws_ahead = True

    def __init__(self, replay: Replay) -> None:
        self.replay = replay

    def anneal(self, step: int) -> None:
        """No draw depends on it."""

    def sample(self, batch_size: int, ranks: Ranks = ALONE) -> Sample:
        """A batch, drawn uniformly."""
        return Sample(self.replay.sample(batch_size), None, None)

    def draw(self, batch_size: int, ranks: Ranks = ALONE) -> Drawn:
        """Uniform numbers."""
        return Drawn(self.replay.draw(batch_size), None, None)

    def gather(self, drawn: Drawn) -> Sample:
        """The batch that was drawn."""
        return Sample(self.replay.at(self.replay.places(drawn.numbers)), None, None)

    def update_priorities(self, sample: Sample | Drawn, priority: Tensor) -> None:
        """No draw depends on them."""

    def check(self) -> None:
        """There are none."""


class PrioritizedSampler:
    """Prioritized replay: transitions with a larger loss are likelier, and count less (Schaul et al. 2016).

    Args:
        replay: the buffer, with priorities.
        beta: importance-sampling exponent β by environment step.
    """

    draws_ahead = False

    def __init__(self, replay: PrioritizedReplay, beta: Callable[[int], float]) -> None:
        self.replay: Any = replay
        self._schedule = beta
        self._beta = torch.zeros((), dtype=torch.float64, device=replay.generator.device)

    def anneal(self, step: int) -> None:
        """Set β of the next batches to that of environment step `step`."""
        self._beta.fill_(self._schedule(step))

    def sample(self, batch_size: int, ranks: Ranks = ALONE) -> Sample:
        """A batch, drawn by priority; its weights are those of all ranks' batches together."""
        return self.gather(self.draw(batch_size, ranks))

    def draw(self, batch_size: int, ranks: Ranks = ALONE) -> Drawn:
        """Places in the replay buffer, drawn by priority."""
        gather = ranks.gather if ranks.world_size > 1 else None
        places, indices, weights = self.replay.draw_by_priority(batch_size, self._beta, gather=gather)
        return Drawn(places, weights, indices)

    def gather(self, drawn: Drawn) -> Sample:
        """The batch that was drawn."""
        return Sample(self.replay.at(drawn.numbers), drawn.weights, drawn.indices)

    def update_priorities(self, sample: Sample | Drawn, priority: Tensor) -> None:
        """Give a batch its new priorities `[B]`; raises as `check` where that does not wait for a device."""
        with _breakdowns():
            self.replay.update_priorities(sample.indices, priority)

    def check(self) -> None:
        """Raise NonFiniteError where a priority was not finite since the last call; waits for the device."""
        with _breakdowns():
            self.replay.check()


@contextmanager
def _breakdowns() -> Iterator[None]:
    """A context in which a priority that is not finite is a NonFiniteError."""
    try:
        yield
    except NonFinitePriorityError as error:
        raise NonFiniteError(f"learning broke down: {error}") from error


class BatchLoss(NamedTuple):
    """The loss of a batch."""

    loss: Tensor  # 0-dim, to minimize
    priority: Tensor  # [B], at least 0
    metrics: dict[str, Tensor]  # 0-dim by TensorBoard tag


class ReplayLearning(Protocol):
    """What an agent learns from batches; it never waits for the device, and draws from the graphs' generators alone."""

    looks_ahead: bool
    """Whether `next_outputs_ahead` computes anything."""

    def next_outputs_ahead(self, samples: Sequence[Sample]) -> Sequence[Any]:
        """The target network's outputs for the next observations of several batches, in one forward pass.

        None for each batch where they cannot be computed ahead.
        """

    def draw(self, batch_size: int) -> Any:
        """All that the loss of a batch draws at random, a tree of tensors."""

    def batch_loss(self, sample: Sample, next_outputs: Any, draws: Any = None) -> BatchLoss:
        """The loss of a batch; `next_outputs` may be computed ahead, or None.

        With the `draws` of `draw`, None for new ones, it is a function of tensors that can be compiled as a whole.
        """


class ReplayUpdates:
    """Makes updates, in few launches.

    Args:
        learner: makes the gradient steps.
        sampler: of a replay buffer on the learner's device.
        learning: says what is learned from a batch.
        batch_size: transitions in a batch.
        graphs: captures the updates.
    """

    def __init__(
        self, learner: Learner, sampler: Sampler, learning: ReplayLearning, batch_size: int, graphs: Graphs
    ) -> None:
        self._learner, self._sampler, self._learning, self._batch_size = learner, sampler, learning, batch_size
        names = {size: "an update" if size == 1 else f"{size} updates" for size in LAUNCHES}
        self._launches = {size: graphs.capture(partial(self._make, size), name) for size, name in names.items()}
        self._compiled_ahead = learner.compiler.compile(self._ahead, "the targets")
        self._compiled_loss = learner.compiler.compile(self._loss, "the loss")

    def __call__(self, number: int, step: int) -> None:
        """Make so many updates, at environment step `step`."""
        self._learner.anneal(step)
        self._sampler.anneal(step)
        while number:
            if self._learner.diagnostics.due:
                size = 1
                self._make(size, measured=True)
            else:
                size = next(size for size in LAUNCHES if size <= number)
                self._launches[size]()
            self._learner.count_updates(size)
            number -= size

    def _make(self, number: int, measured: bool = False) -> None:
        """The device's part of `number` updates."""
        at_once = number if self._sampler.draws_ahead else 1
        make = self._make_eagerly if measured or not self._learner.compiler.enabled else self._make_compiled
        for _ in range(number // at_once):
            make(at_once, measured)

    def _make_eagerly(self, number: int, measured: bool) -> None:
        """Updates of so many batches, which are drawn first."""
        samples = self._samples(number)
        ahead = self._learning.next_outputs_ahead(samples) if number > 1 else [None]
        for sample, next_outputs in zip(samples, ahead, strict=True):
            loss, priority, metrics = self._learning.batch_loss(sample, next_outputs)
            self._learner.step([(loss, metrics)], measured=measured)
            self._sampler.update_priorities(sample, priority)

    def _samples(self, number: int) -> list[Sample]:
        """So many batches, which are gathered together."""
        if number == 1:
            return [self._sampler.sample(self._batch_size, self._learner.ranks)]
        drawn = [self._sampler.draw(self._batch_size, self._learner.ranks) for _ in range(number)]
        joint = self._sampler.gather(Drawn(torch.cat([batch.numbers for batch in drawn]), None, None)).transition
        parts = zip(*(field.split(self._batch_size) for field in joint), strict=True)
        return [Sample(Transition(*part), None, None) for part in parts]

    def _make_compiled(self, number: int, measured: bool) -> None:
        """As `_make_eagerly`, from the same random numbers; a batch's targets are always computed ahead, so that all
        have the same function.
        """
        drawn = [self._sampler.draw(self._batch_size, self._learner.ranks) for _ in range(number)]
        looks_ahead = self._learning.looks_ahead and self._sampler.draws_ahead
        ahead = self._compiled_ahead(drawn) if looks_ahead else [None] * number
        for batch, next_outputs in zip(drawn, ahead, strict=True):
            draws = self._learning.draw(self._batch_size)
            loss, priority, metrics = self._compiled_loss(batch, next_outputs, draws)
            self._learner.step([(loss, metrics)])
            self._sampler.update_priorities(batch, priority)

    def _ahead(self, drawn: Sequence[Drawn]) -> Sequence[Any]:
        return self._learning.next_outputs_ahead([self._sampler.gather(batch) for batch in drawn])

    def _loss(self, drawn: Drawn, next_outputs: Any, draws: Any) -> BatchLoss:
        return self._learning.batch_loss(self._sampler.gather(drawn), next_outputs, draws)
