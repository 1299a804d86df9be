"""Updates of an agent that learns from a replay, several of them in one launch where the device can."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor

from agents.graphs import Graphs
from agents.learner import Learner
from agents.samplers import Sample, Sampler

LAUNCHES = (8, 4, 2, 1)  # updates of one launch: any number is a sum of these


class Losses(NamedTuple):
    """What an agent has to learn from a batch."""

    loss: Tensor  # 0-dim, to descend
    priority: Tensor  # [B], how much there was to learn
    figures: dict[str, Tensor]  # 0-dim by TensorBoard tag


class ReplayUpdates:
    """Makes updates: draws a batch, computes its losses, takes a gradient step, and tells the sampler what was learned.

    Args:
        learner: makes the gradient steps.
        sampler: of a replay on the learner's device.
        losses: of a batch; never waits for the device, and draws from the generators of `graphs` alone.
        batch_size: transitions in a batch.
        graphs: captures the updates.
    """

    def __init__(
        self,
        learner: Learner,
        sampler: Sampler,
        losses: Callable[[Sample], Losses],
        batch_size: int,
        graphs: Graphs,
    ) -> None:
        self._learner, self._sampler, self._losses, self._batch_size = learner, sampler, losses, batch_size
        self._together = graphs.enabled
        self._launches = {size: graphs.capture(partial(self._make, size), _name(size)) for size in LAUNCHES}

    def __call__(self, number: int, step: int) -> None:
        """Make so many updates, at environment step `step`."""
        self._learner.begin(step)
        self._sampler.begin(step)
        left = number
        while left:
            if self._learner.measures_next or not self._together:
                self._make(size := 1)
            else:
                self._launches[size := next(size for size in LAUNCHES if size <= left)]()
            self._learner.count(size)
            left -= size

    def _make(self, number: int) -> None:
        """What the device does in so many updates."""
        for _ in range(number):
            sample = self._sampler.sample(self._batch_size)
            losses = self._losses(sample)
            self._learner.descend([(losses.loss, losses.figures)])
            self._sampler.learned(sample, losses.priority)


def _name(size: int) -> str:
    return "an update" if size == 1 else f"{size} updates"
