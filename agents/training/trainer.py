"""The loop in which an agent and its environments step together."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from agents.acting.policies import Decision
from agents.acting.rows import Turn
from agents.runtime.distributed import OneProcess, Ranks
from agents.runtime.seeds import Purpose, sequence
from agents.training.evaluation import Scores
from agents.training.protocols import Agent
from envs import Environment, EpisodeStatistics, Groups, TimeStep
from envs.faults import EnvironmentFault
from envs.groups import joined
from envs.seeds import environment_seeds
from envs.stream import StateError, restored_row


class Callback:
    """Work during a run: a base class whose methods do nothing, to be overridden as needed.

    Any of them may call `trainer.stop()`. A run's own logging, evaluations and checkpoints are callbacks too; those
    that are given come after them, in their order.
    """

    def __init_subclass__(cls) -> None:
        """Raises TypeError where a method is named as in other libraries, since nothing would call it."""
        super().__init_subclass__()
        if wrong := next((name for name in vars(cls) if name.startswith(("on_", "_on_"))), None):
            names = "start(trainer), step(trainer, before), update(trainer, updates), evaluation(trainer, scores)"
            raise TypeError(f"{cls.__name__}.{wrong} would never be called: a Callback has {names}, end(trainer)")

    def start(self, trainer: Trainer) -> None:
        """Called when training starts, or continues, at `trainer.steps`."""

    def step(self, trainer: Trainer, before: int) -> None:
        """Called after each vector step; the steps (before, trainer.steps] have just passed."""

    def update(self, trainer: Trainer, updates: int) -> None:
        """Called after a vector step in which this many gradient steps were made, before `step`."""

    def evaluation(self, trainer: Trainer, scores: Scores) -> None:
        """Called after an evaluation in which games have ended, with their scores; it may be of an earlier step."""

    def end(self, trainer: Trainer) -> None:
        """Called when training has ended: its length is reached, it was stopped, or an exception is on its way.

        It is called where that of another callback has failed too.
        """


class Trainer:
    """Steps an agent and its environments together.

    Environments in groups, see `envs.Groups`, are acted on group by group as their parts of a row arrive, while the
    others step: by the same parameters and the same random draws as a whole row is acted on.

    Args:
        agent: learns.
        environment: N environments in lockstep.
        seed: of the run, for the environment.
        callbacks: called in order.
        ranks: the processes that share the run; their steps are counted together.

    Attributes:
        steps: steps made so far.
        seconds: time spent in them so far, without callbacks.
        first_step: steps that had been made when the last `run` began.
        refused: why the environment was not restored from the state that `set_state` was given; empty where it was.
        failed: whether an exception has ended the last `run`, as far as `end` is concerned.
    """

    def __init__(
        self,
        agent: Agent,
        environment: Environment,
        *,
        seed: int,
        callbacks: Sequence[Callback] = (),
        ranks: Ranks | None = None,
    ) -> None:
        self.agent, self.environment, self.callbacks = agent, environment, callbacks
        self.statistics = EpisodeStatistics(environment.num_envs)
        self.steps = 0
        self.seconds = 0.0
        self.first_step, self._began = 0, time.perf_counter()
        self._seed = seed
        self._ranks = ranks or OneProcess()
        self._stopping, self._runs, self._broken = False, False, False
        self.failed, self.refused = False, ""
        self._timestep: TimeStep | None = None
        self._ahead: Decision | None = None  # at that row, where its actions have been sent already

    def run(self, total_steps: int, stopped: Callable[[], bool] = lambda: False) -> None:
        """Continue until `total_steps` steps have been made in all, or `stopped()` or `stop` asks in any process.

        Raises:
            EnvironmentFault: an environment failed, or returned what cannot be learned from.
            RuntimeError: it is called within a callback, or an earlier run broke off in the middle of a step, so that
                environments, agent and statistics do not fit together.
        """
        if self._runs:
            raise RuntimeError("the run is learning already")
        if self._broken:
            raise RuntimeError("the run broke off in the middle of a step: go on from its last checkpoint")
        self.first_step, self._began, self._stopping, self._runs = self.steps, time.perf_counter(), False, True
        self.failed = True
        try:
            self.environment.resumable  # noqa: B018 - found out before the first step: others may be made for it
            self._each("start")
            timestep = self._timestep or self._start()
            while self.steps < total_steps and not self._ranks.sum(self._stopping or stopped()):
                timestep = self._step(timestep)
            self.agent.settle()
            self.failed = False
        except EnvironmentFault as fault:
            if fault.step is None:
                fault.step = self.steps
            raise
        finally:
            self._runs = False
            self._end()

    def stop(self) -> None:
        """Stop after the present vector step; a later `run` goes on."""
        self._stopping = True

    def evaluated(self, scores: Scores) -> None:
        """Report the scores of an evaluation to the callbacks."""
        self._each("evaluation", scores)

    def _step(self, timestep: TimeStep) -> TimeStep:
        """A vector step from one row to the next."""
        clock, made = time.perf_counter(), self.agent.num_updates
        self._broken = True  # until the step is whole
        decision = self._act(timestep) if self._ahead is None else self._ahead
        self.agent.observe(timestep, decision)
        before, self.steps = self.steps, self.steps + self._ranks.sum(int((~timestep.last).sum()))
        if self.agent.overlap:
            self.agent.learn(before, self.steps, timestep)
        timestep = self._timestep = self._receive()
        self.statistics.update(timestep)
        if not self.agent.overlap:
            self.agent.learn(before, self.steps, timestep)
        self.seconds += time.perf_counter() - clock
        self._broken = False
        if updates := self.agent.num_updates - made:
            self._each("update", updates)
        for callback in self.callbacks:
            callback.step(self, before)
        return timestep

    def _act(self, timestep: TimeStep) -> Decision:
        """Choose and send the actions of a row."""
        environment = self.environment
        if not isinstance(environment, Groups):
            decision = self.agent.act(timestep, self.steps)
            environment.send(decision.action)
            return decision
        turn = Turn(self.agent, environment.num_envs, self.steps)
        for index, part in enumerate(environment.parts):
            environment.send_to(index, turn.act(TimeStep(*(values[part] for values in timestep)), part))
        return turn.decision

    def _receive(self) -> TimeStep:
        """The next row, whose groups are acted on as they arrive unless the agent learns before."""
        environment, self._ahead = self.environment, None
        if not isinstance(environment, Groups) or not self.agent.acts_ahead:
            return environment.recv()
        turn, rows = Turn(self.agent, environment.num_envs, self.steps), []
        for index, part in enumerate(environment.parts):
            rows.append(environment.recv_from(index))
            environment.send_to(index, turn.act(rows[-1], part))
        self._ahead = turn.decision
        return joined(rows)

    def _each(self, event: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *arguments)

    def _end(self) -> None:
        """Let every callback end, then raise the first error that one of them had."""
        errors = []
        for callback in self.callbacks:
            try:
                callback.end(self)
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    @property
    def wall_seconds(self) -> float:
        """Wall time since the last `run` began, callbacks included."""
        return time.perf_counter() - self._began

    def _start(self) -> TimeStep:
        """The first rows; after a resume without the environment's state, those of new games with other seeds."""
        own, rank = self.environment.num_envs, self._ranks.rank
        seeds = environment_seeds(sequence(self._seed, Purpose.TRAINING, self.steps), own * (rank + 1))
        timestep = self.environment.reset(seed=seeds[own * rank :])  # as in a single process
        self.statistics.update(timestep)
        return timestep

    def get_state(self) -> dict[str, Any]:
        """Everything needed to continue; the environment's part only where the environment can be restored.

        A run that broke off in the middle of a step goes on with new games.
        """
        return {**self._own_state(), "agent": self.agent.get_state()}

    def snapshot(self) -> dict[str, Any]:
        """As `get_state`, of now: later steps change nothing in it, see `agents.training.protocols.Agent.snapshot`."""
        return {**copy.deepcopy(self._own_state()), "agent": self.agent.snapshot()}

    def _own_state(self) -> dict[str, Any]:
        state = {"steps": self.steps, "seconds": self.seconds, "statistics": self.statistics.get_state()}
        if self.environment.resumable and self._timestep is not None and not self._broken:
            with suppress(StateError):  # new games then
                state |= {"environment": self.environment.get_state(), "timestep": self._timestep._asdict()}
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `get_state`'s state; where the environment's does not fit, with new games, see `refused`."""
        self.steps, self.seconds = state["steps"], state["seconds"]
        self.agent.set_state(state["agent"])
        self.statistics.set_state(state["statistics"])
        if "environment" in state:
            try:
                if not self.environment.resumable:
                    raise StateError("here it cannot be restored")
                timestep = restored_row(state["timestep"], self.environment)
                self.environment.set_state(state["environment"])
                self._timestep = timestep
            except StateError as error:
                self.refused = str(error)
        self._ahead = None
