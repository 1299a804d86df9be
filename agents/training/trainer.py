"""The loop in which an agent meets an environment, and what happens beside it at intervals."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from agents.acting.policies import Policy
from agents.learner.learner import Learner
from agents.runtime.distributed import OneProcess, Ranks
from envs import Environment, Episode, EpisodeStatistics, TimeStep
from wnrl.checkpoints.checkpoints import CheckpointError, Checkpoints, NullCheckpoints
from wnrl.schedules import Every
from wnrl.tracking.tracker import Tracker


class Agent(Protocol):
    """What the loop asks of an agent."""

    learner: Learner
    overlap: bool
    """Whether `learn` is called while the environments make the steps, before there is the row that they lead to."""

    def act(self, timestep: TimeStep, step: int) -> np.ndarray:
        """Actions `[N]`, or `[N, D]` where they are continuous, for a row of the stream at `step`, while learning."""

    def policy(self, rng: np.random.Generator) -> Policy:
        """What evaluation plays; `rng` draws all that is random in it."""

    def observe(self, timestep: TimeStep, action: np.ndarray) -> None:
        """See a row of the stream and the actions chosen at it."""

    def learn(self, before: int, after: int, timestep: TimeStep) -> None:
        """Make the updates due in the steps (before, after]; `timestep` is the newest row that there is."""

    def figures(self, step: int) -> dict[str, float]:
        """Scalars by TensorBoard tag since the last call."""

    def get_state(self) -> dict[str, Any]:
        """Everything needed to go on."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state."""


class Hook(Protocol):
    """Something that happens beside the loop."""

    def __call__(self, trainer: Trainer, before: int) -> None:
        """Called after each vector step; the steps (before, trainer.steps] have just passed."""


class Trainer:
    """Steps an agent and an environment together.

    Args:
        agent: learns.
        environment: N environments in lockstep.
        seed: of the environment.
        hooks: called in order after each vector step.
        ranks: the processes that share the run; their steps are counted together.
    """

    def __init__(
        self,
        agent: Agent,
        environment: Environment,
        *,
        seed: int,
        hooks: Sequence[Hook] = (),
        ranks: Ranks | None = None,
    ) -> None:
        self.agent, self.environment, self.hooks = agent, environment, hooks
        self.statistics = EpisodeStatistics(environment.num_envs)
        self.steps = 0
        self.seconds = 0.0
        self._seed = seed  # of the environment
        self._ranks = ranks or OneProcess()
        self._timestep: TimeStep | None = None

    def run(self, total_steps: int, stopped: Callable[[], bool] = lambda: False) -> None:
        """Go on until `total_steps` steps have been made in all, or `stopped()` says so (of any process)."""
        timestep = self._timestep or self._start()
        while self.steps < total_steps and not self._ranks.sum(stopped()):
            clock = time.perf_counter()
            action = self.agent.act(timestep, self.steps)
            self.agent.observe(timestep, action)
            self.environment.send(action)
            before, self.steps = self.steps, self.steps + self._ranks.sum(int((~timestep.last).sum()))
            if self.agent.overlap:
                self.agent.learn(before, self.steps, timestep)
            timestep = self._timestep = self.environment.recv()
            self.statistics.update(timestep)
            if not self.agent.overlap:
                self.agent.learn(before, self.steps, timestep)
            self.seconds += time.perf_counter() - clock
            for hook in self.hooks:
                hook(self, before)

    def _start(self) -> TimeStep:
        """First rows; after a resume of an emulator that cannot be restored, new games under a seed of their own."""
        timestep = self.environment.reset(seed=self._seed + self.steps)
        self.statistics.update(timestep)
        return timestep

    def get_state(self) -> dict[str, Any]:
        """Everything needed to go on; the environment's part only where the environment can be restored."""
        state = {
            "steps": self.steps,
            "seconds": self.seconds,
            "agent": self.agent.get_state(),
            "statistics": self.statistics.get_state(),
        }
        if self.environment.resumable and self._timestep is not None:
            state["environment"] = self.environment.get_state()
            state["timestep"] = self._timestep._asdict()
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `get_state`'s state."""
        self.steps, self.seconds = state["steps"], state["seconds"]
        self.agent.set_state(state["agent"])
        self.statistics.set_state(state["statistics"])
        if "environment" in state:
            self.environment.set_state(state["environment"])
            self._timestep = TimeStep(**state["timestep"])


class Report:
    """Takes figures to the tracker and to the terminal.

    Args:
        tracker: keeps them.
        show: called with the step and the figures.
    """

    def __init__(self, tracker: Tracker, show: Callable[[int, dict[str, float]], None]) -> None:
        self._tracker, self._show = tracker, show

    def __call__(self, step: int, figures: dict[str, float]) -> None:
        """Write and show `figures` of `step`."""
        self._tracker.write(step, figures)
        self._show(step, figures)


class Log:
    """Writes the run's figures at an interval.

    Args:
        report: takes the step and the figures.
        interval: in steps.
        frame_skip: emulator frames per step.
    """

    def __init__(self, report: Callable[[int, dict[str, float]], None], interval: int, frame_skip: int) -> None:
        self._report, self._clock, self._frame_skip = report, Every(interval), frame_skip
        self._last: tuple[int, float] | None = None

    def __call__(self, trainer: Trainer, before: int) -> None:
        """Write when a tick has passed."""
        if self._last is None:
            self._last = (before, 0.0 if before == 0 else trainer.seconds)
        if self._clock.ticks(before, trainer.steps):
            self._report(trainer.steps, self._figures(trainer))

    def _figures(self, trainer: Trainer) -> dict[str, float]:
        assert self._last is not None
        steps, seconds = trainer.steps - self._last[0], trainer.seconds - self._last[1]
        self._last = (trainer.steps, trainer.seconds)
        fps = steps / max(seconds, 1e-9)
        figures = {
            **trainer.agent.figures(trainer.steps),
            "time/fps": fps,
            "time/frames_per_second": fps * self._frame_skip,
            "time/time_elapsed": trainer.seconds,
        }
        if trainer.statistics.mean_score == trainer.statistics.mean_score:  # no game has ended yet: nan
            figures["rollout/ep_rew_mean"] = trainer.statistics.mean_score
            figures["rollout/ep_len_mean"] = trainer.statistics.mean_length
        return figures


class Evaluation:
    """Plays whole games at an interval with an environment of its own, and keeps the best model.

    Args:
        play: plays with a policy under a seed and returns the games; none where it was stopped.
        policy: the agent's policy for evaluation, made for the seed of its exploration.
        interval: in steps; 0 never.
        keep_best: called with the step and the mean score when that is the best so far.

    Attributes:
        report: takes the step and the figures.
        best: the best mean score so far.
        done: the step up to which no evaluation is owed.
    """

    def __init__(
        self,
        play: Callable[[Policy, int], list[Episode]],
        policy: Callable[[int], Policy],
        interval: int,
        *,
        keep_best: Callable[[int, float], None],
    ) -> None:
        self._play, self._policy, self._clock, self._keep_best = play, policy, Every(interval), keep_best
        self.report: Callable[[int, dict[str, float]], None] = lambda step, figures: None
        self.best = -np.inf
        self.done = 0

    def __call__(self, trainer: Trainer, before: int) -> None:
        """Evaluate when a tick has passed; an evaluation that was stopped is made up for after a resume."""
        if not self._clock.ticks(self.done, trainer.steps):
            return
        episodes = self._play(self._policy(trainer.steps), trainer.steps)
        if not episodes:
            return
        self.done = trainer.steps
        figures = {
            "eval/mean_reward": float(np.mean([episode.score for episode in episodes])),
            "eval/mean_ep_length": float(np.mean([episode.length for episode in episodes])),
        }
        self.report(trainer.steps, figures)
        if figures["eval/mean_reward"] > self.best:
            self.best = figures["eval/mean_reward"]
            self._keep_best(trainer.steps, self.best)

    def get_state(self) -> dict[str, Any]:
        """The best mean score so far, and how far evaluations have come."""
        return {"best": float(self.best), "done": self.done}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `get_state`'s state."""
        self.best, self.done = state["best"], state["done"]


class Checkpointing:
    """Writes checkpoints at an interval.

    Args:
        checkpoints: where they go.
        interval: in steps; 0 never.
        state: what a checkpoint holds.
        say: told when a checkpoint could not be written; the run and the earlier checkpoints go on.
    """

    def __init__(
        self,
        checkpoints: Checkpoints | NullCheckpoints,
        interval: int,
        state: Callable[[], dict[str, Any]],
        say: Callable[[str], None],
    ) -> None:
        self._checkpoints, self._clock, self._state, self._say = checkpoints, Every(interval), state, say

    def __call__(self, trainer: Trainer, before: int) -> None:
        """Save when a tick has passed."""
        if not self._clock.ticks(before, trainer.steps):
            return
        try:
            self._checkpoints.save(trainer.steps, self._state())
        except CheckpointError as error:
            self._say(f"no checkpoint at step {trainer.steps:,}: {error}")
