"""Interfaces that a training run needs: of its agent, and of the display of its progress."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from torch import nn

from agents.acting.policies import Decision, Policy
from agents.learner.learner import Learner
from agents.runtime.distributed import Ranks
from envs import EpisodeStatistics, TimeStep


class Agent(Protocol):
    """An agent as the training loop uses it."""

    learner: Learner
    acting: Any
    """The folded network that acts."""
    num_updates: int
    """Gradient steps made, as far as a run has been told of them; the learner may be ahead while it learns beside."""
    overlap: bool
    """Whether `learn` is called while the environments step, before their next row has arrived."""

    values_returns: bool
    """Whether the network that acts is a Q network whose values are those of its discounted returns."""

    @property
    def evaluation_options(self) -> dict[str, Any]:
        """Options of `make_policy` for evaluation, as JSON holds them."""

    @property
    def gamma(self) -> float:
        """The discount of one step."""

    def learned_reward(self, timestep: TimeStep) -> np.ndarray:
        """The rewards `[N]` of a row as a value agent learns from them; others may not have this."""

    @property
    def acts_ahead(self) -> bool:
        """Whether the next row may be acted on before all of it is there; asked after `observe`."""

    def act(self, timestep: TimeStep, step: int) -> Decision:
        """The decision at a row of the stream, while learning at `step`."""

    def draw_row(self, number: int, step: int) -> Any:
        """All that the actions of a row of N environments draw at random, while learning at `step`."""

    def act_on(self, timestep: TimeStep, draws: Any, part: slice) -> Decision:
        """The decision at a part of a row, see `agents.acting.rows`."""

    def observe(self, timestep: TimeStep, decision: Decision) -> None:
        """Store a row of the stream and the decision of `act` for it."""

    def learn(self, before: int, after: int, timestep: TimeStep) -> None:
        """Make the updates due in the steps (before, after]; `timestep` is the newest row."""

    def policy(self, rng: np.random.Generator, acting: nn.Module | None = None) -> Policy:
        """The policy of an evaluation.

        Args:
            rng: of all its randomness.
            acting: a copy of the network that acts, as it was once; None: that of now.
        """

    def settle(self) -> None:
        """Wait for what is learned beside the acting, if anything is: to be called before the learner is looked at."""

    def newest(self) -> Any:
        """The folded network of all that was learned so far: what acts, or a network of its own where that is older."""

    def share(self, ranks: Ranks) -> None:
        """Learn together with other processes from now on, starting from the first one's network."""

    def metrics(self, step: int) -> dict[str, float]:
        """Scalars by TensorBoard tag, over the time since the last call."""

    def get_state(self) -> dict[str, Any]:
        """Everything needed to continue; tensors may share the agent's memory."""

    def snapshot(self) -> dict[str, Any]:
        """As `get_state`, of now: what the agent does later changes nothing in it, and large buffers are streams."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from such a state."""


class Progress(Protocol):
    """Shows how far a run is; called in the thread of the run."""

    def start(self, step: int, total_steps: int) -> None:
        """Training starts, or continues, at `step`."""

    def learned(self, step: int) -> None:
        """Gradient steps were made; the run is at `step`."""

    def update(self, step: int, games: EpisodeStatistics) -> None:
        """A vector step was made; the run is at `step`, and `games` has the scores of its last games."""

    def evaluating(self, games: int, of: int) -> None:
        """Training waits for an evaluation, in which so many games, or steps, of all have been played.

        A display may do without this method.
        """

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show a row of metrics."""

    def message(self, text: str) -> None:
        """Show a line of text."""

    def close(self) -> None:
        """Training has stopped."""


class NullProgress:
    """Shows nothing."""

    def start(self, step: int, total_steps: int) -> None:
        """Show nothing."""

    def learned(self, step: int) -> None:
        """Show nothing."""

    def update(self, step: int, games: EpisodeStatistics) -> None:
        """Show nothing."""

    def evaluating(self, games: int, of: int) -> None:
        """Show nothing."""

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show nothing."""

    def message(self, text: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing is open."""


class PythonWarnings(NullProgress):
    """Shows nothing; what went wrong is a warning of Python."""

    def warn(self, text: str) -> None:
        """Warn."""
        warnings.warn(text, stacklevel=2)
