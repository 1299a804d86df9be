"""Which transitions an agent learns from, and how much each counts: parts of the DQN family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from wnrl.replay.prioritized import PrioritizedReplay
from wnrl.replay.uniform import Replay, Transition


class Sample(NamedTuple):
    """A batch to learn from."""

    transition: Transition
    weights: Tensor | None  # [B] float32, of the losses; None: 1 each
    places: Tensor | None  # [B] int64, where the replay has them


class Sampler(Protocol):
    """Draws batches from a replay."""

    replay: Replay
    ahead: bool
    """Whether batches can be drawn before it is known what was learned from those drawn last."""

    def begin(self, step: int) -> None:
        """The next batches are for updates at environment step `step`."""

    def sample(self, batch_size: int) -> Sample:
        """A batch; all that it depends on and that changes is on the device."""

    def learned(self, sample: Sample, priority: Tensor) -> None:
        """Take note of how much there was to learn from a batch: `priority` `[B]`, at least 0."""


class UniformSampler:
    """Every transition is as likely as any other, and counts as much.

    Args:
        replay: where transitions are.
    """

    ahead = True

    def __init__(self, replay: Replay) -> None:
        self.replay = replay

    def begin(self, step: int) -> None:
        """No draw depends on it."""

    def sample(self, batch_size: int) -> Sample:
        """A batch, drawn uniformly."""
        return Sample(self.replay.sample(batch_size), None, None)

    def learned(self, sample: Sample, priority: Tensor) -> None:
        """Nothing depends on it."""


class PrioritizedSampler:
    """Transitions from which there is more to learn are likelier, and count less (Schaul et al. 2016).

    Args:
        replay: where transitions and their priorities are.
        beta: by environment step, how far the weights correct for the likelihood; 1 is fully.
    """

    ahead = False

    def __init__(self, replay: PrioritizedReplay, beta: Callable[[int], float]) -> None:
        self.replay: Any = replay
        self._schedule = beta
        self._beta = torch.zeros((), dtype=torch.float64, device=replay.generator.device)

    def begin(self, step: int) -> None:
        """The next batches' weights are those of environment step `step`."""
        self._beta.fill_(self._schedule(step))

    def sample(self, batch_size: int) -> Sample:
        """A batch, drawn by priority."""
        drawn = self.replay.sample_by_priority(batch_size, self._beta)
        return Sample(drawn.transition, drawn.weights, drawn.places)

    def learned(self, sample: Sample, priority: Tensor) -> None:
        """Give the batch its new priorities."""
        self.replay.update_priorities(sample.places, priority)
