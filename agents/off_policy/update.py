"""Updates of an agent that learns from a replay, several of them in one launch where the device can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from agents.learner.learner import Learner
from agents.off_policy.samplers import Sample, Sampler
from agents.runtime.cuda_graphs import Graphs

LAUNCHES = (8, 4, 2, 1)  # updates of one launch: any number is a sum of these


class Losses(NamedTuple):
    """What an agent has to learn from a batch."""

    loss: Tensor  # 0-dim, to descend
    priority: Tensor  # [B], how much there was to learn
    metrics: dict[str, Tensor]  # 0-dim by TensorBoard tag


class ReplayUpdates:
    """Makes updates: draws a batch, computes its losses, takes a gradient step, and tells the sampler what was learned.

    What `foresee` and `losses` do never waits for the device, and draws from the generators of `graphs` alone.

    Args:
        learner: makes the gradient steps.
        sampler: of a replay on the learner's device.
        foresee: what can be computed for the batches of several updates before the first of them is made.
        losses: of a batch, from what was foreseen of it.
        batch_size: transitions in a batch.
        graphs: captures the updates.
    """

    def __init__(
        self,
        learner: Learner,
        sampler: Sampler,
        foresee: Callable[[Sequence[Sample]], Sequence[Any]],
        losses: Callable[[Sample, Any], Losses],
        batch_size: int,
        graphs: Graphs,
    ) -> None:
        self._learner, self._sampler, self._batch_size = learner, sampler, batch_size
        self._foresee, self._losses = foresee, losses
        self._launches = {size: graphs.capture(partial(self._make, size), _name(size)) for size in LAUNCHES}

    def __call__(self, number: int, step: int) -> None:
        """Make so many updates, at environment step `step`."""
        self._learner.begin(step)
        self._sampler.begin(step)
        left = number
        while left:
            if self._learner.measures_next:
                self._make(size := 1)
            else:
                self._launches[size := next(size for size in LAUNCHES if size <= left)]()
            self._learner.count(size)
            left -= size

    def _make(self, number: int) -> None:
        """What the device does in so many updates."""
        at_once = number if self._sampler.ahead else 1
        for _ in range(number // at_once):
            samples = [self._sampler.sample(self._batch_size) for _ in range(at_once)]
            for sample, foreseen in zip(samples, self._foresee(samples), strict=True):
                losses = self._losses(sample, foreseen)
                self._learner.descend([(losses.loss, losses.metrics)])
                self._sampler.learned(sample, losses.priority)


def _name(size: int) -> str:
    return "an update" if size == 1 else f"{size} updates"
