"""Gradient steps of agents that learn from minibatches that they are given, in a graph where there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from agents.learner.learner import Learner
from agents.runtime.cuda_graphs import Graphs

Loss = tuple[Tensor, Mapping[str, Tensor]]  # 0-dim, to descend; its metrics, 0-dim by TensorBoard tag


class GradientSteps:
    """Makes one gradient step for each minibatch that it is called with.

    Args:
        learner: makes the step.
        loss: of the tensors of a minibatch; never waits for the device, and draws nothing.
        graphs: captures the step; None captures nothing.
    """

    def __init__(self, learner: Learner, loss: Callable[..., Loss], graphs: Graphs | None) -> None:
        self._learner, self._loss = learner, loss
        self._launch = graphs.capture_function(self.descend, "a gradient step") if graphs else self.descend

    def __call__(self, *minibatch: Tensor) -> None:
        step = self.descend if self._learner.measures_next else self._launch
        step(*minibatch)
        self._learner.count(1)

    def descend(self, *minibatch: Tensor) -> None:
        """What the device does in a step."""
        self._learner.descend([self._loss(*minibatch)])
