"""Evaluations at an interval: before the training goes on, or beside it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from agents.runtime.background import Background
from agents.runtime.seeds import Purpose, generator, integer
from agents.settings.run import RunSettings
from agents.training.evaluation import Scores, evaluate, evaluate_steps
from agents.training.overestimation import ValuedPolicy
from agents.training.protocols import Agent
from agents.training.task import Task
from agents.training.trainer import Callback, Trainer
from envs import EnvironmentFault, Episode
from envs.atari import usable_cores
from wnrl.checkpoints.tensor_files import CheckpointError
from wnrl.schedules import Every

ATARI_AT_ONCE = 32
"""Games of an evaluation on Atari that are played at once, at most."""
CORES = 4
"""From which on a CPU has some for an evaluation beside the training."""


def waits(run: RunSettings, device: torch.device) -> bool:
    """Whether the training waits for an evaluation.

    Unless the settings say it, it does where the two would take turns: with environments in Python, or few cores.
    """
    if run.eval_wait is not None:
        return run.eval_wait
    return run.task.game is None or (device.type != "cuda" and usable_cores() < CORES)


def environments_of(run: RunSettings) -> int:
    """How many environments an evaluation plays in: on Atari one for each game, elsewhere as many as training has."""
    if run.eval_steps:
        return run.num_envs
    return min(run.eval_episodes, run.num_envs if run.task.game is None else ATARI_AT_ONCE)


@dataclass(frozen=True)
class Played:
    """What an evaluation plays with, and keeps if it is the best."""

    step: int
    """At which it was begun."""
    due: int
    """The step at which it was due, the same in all runs of this interval, from which its seeds come."""
    acting: nn.Module
    """The folded network that acts; a copy of then where the training goes on."""
    model: Mapping[str, Tensor] | None = None
    """Of the folded network, as models are written; None: that of now."""


def seed_of(run: RunSettings, played: Played) -> int:
    """The seed of an evaluation's environments."""
    return integer(run.seed, Purpose.EVALUATION, played.due)


class Games(NamedTuple):
    """What was played in an evaluation."""

    episodes: list[Episode]
    overestimation: float | None = None
    """Of the values of the first actions, over the games; None where they were not compared."""


Play = Callable[[Played, Callable[[str], None], Callable[[], bool] | None], Scores | None]
"""Plays, given what to call with a line of text and, where the training goes on, what says when to stop."""


def compares(run: RunSettings, agent: Agent) -> bool:
    """Whether the agent's values are those of the returns of whole games, which an evaluation then compares.

    They are not where a lost life ended a return in training.
    """
    one_life = run.task.game is not None and run.task.life_loss
    return agent.values_returns and not one_life and not run.eval_steps


def play_games(
    run: RunSettings,
    agent: Agent,
    task: Task,
    played: Played,
    *,
    message: Callable[[str], None],
    stopped: Callable[[], bool],
    shown: Callable[[int, int], None],
) -> Games:
    """Play the games of an evaluation, or so many of them as have ended when it is stopped.

    Args:
        run: how long it is, and its seed.
        agent: how it plays.
        task: what is played, in environments of its own.
        played: with what.
        message: called with a line of text where a game does not end.
        stopped: asked at each step.
        shown: called with the number of games, or of steps, that have been played, and of all.
    """
    rng = generator(run.seed, Purpose.EVALUATION_POLICY, played.due)
    policy, whole = agent.policy(rng, played.acting), run.eval_steps or run.eval_episodes
    environment = task.evaluation(environments_of(run))
    watched: dict[str, Any] = {
        "seed": seed_of(run, played),
        "stopped": stopped,
        "shown": lambda part: shown(part, whole),
    }
    try:
        if run.eval_steps:
            return Games(evaluate_steps(policy, environment, steps=run.eval_steps, **watched))
        games = {"episodes": run.eval_episodes, "message": message, **watched}
        if not compares(run, agent):
            return Games(evaluate(policy, environment, **games))
        valued = ValuedPolicy(policy, played.acting, agent.gamma, agent.learned_reward, agent.learner.autocast)
        finished = evaluate(valued, environment, watch=valued.watch, **games)
        return Games(finished, valued.overestimation(finished))
    except EnvironmentFault as fault:
        fault.step, fault.what = played.step, f"{fault.what} in the evaluation"
        raise
    finally:
        environment.close()


class Evaluation(Callback):
    """Plays whole games at an interval with an environment of its own, and keeps the best model.

    With a `background` the training goes on meanwhile, until the next one is due or the run ends. One that a stop has
    broken off is played again after a resume, with the network that it was begun with; one that a fault of its
    environment has ended is not, since its games, of the same seeds, would end there again.

    Args:
        play: plays and returns the scores, or None where it was stopped.
        freeze: returns what is played with at a step.
        interval: in steps; 0 never evaluates.
        report: called with what has played and the scores.
        keep_best: called with what has played and the mean score when that is the best so far.
        message: called with a line of text when no game ended in an evaluation, which then has no score, or when the
            best model could not be written; the run continues.
        background: where it is played beside the training; None: the training waits.
        stopped: whether the run is to stop; asked by the thread of an evaluation beside the training too.

    Attributes:
        best: the best mean score so far.
        done: the step of the last evaluation.
    """

    def __init__(
        self,
        play: Play,
        freeze: Callable[[int], Played],
        interval: int,
        *,
        report: Callable[[Played, Scores], None],
        keep_best: Callable[[Played, float], None],
        message: Callable[[str], None],
        background: Background | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._play, self._freeze, self._clock = play, freeze, Every(interval)
        self._report, self._keep_best, self._message = report, keep_best, message
        self._background, self._stopped, self._abort = background, stopped, False
        self._played: Played | None = None  # that was begun
        self._scores: Scores | None = None  # of one beside the training, which has not been told
        self._lines: list[str] = []
        self.best = -np.inf
        self.done = 0

    def start(self, trainer: Trainer) -> None:
        """Play the one that was broken off."""
        self._end(trainer)  # of a wait that was interrupted
        if (played := self._played) is None:
            return
        if played.model is None:  # the training has waited since: its network is still that of then
            played = dataclasses.replace(self._freeze(trainer.steps), due=played.due)
        self._begin(trainer, played)
        self._begin_due(trainer)  # where the stop came while the one that is due here waited for it

    def step(self, trainer: Trainer, before: int) -> None:
        """Evaluate when an interval has passed, and tell what has ended."""
        if self._background is not None and not self._background.works:
            self._end(trainer)
        self._begin_due(trainer)

    def end(self, trainer: Trainer) -> None:
        """Wait for the last one, unless the run is stopped or has failed."""
        self._abort = trainer.failed
        self._end(trainer)

    @property
    def pending(self) -> bool:
        """Whether one was begun whose scores are not told."""
        return self._played is not None

    def _begin_due(self, trainer: Trainer) -> None:
        """Begin one when an interval has passed, unless a stop has broken off the one before."""
        if self._clock.ticks(self.done, trainer.steps):
            self._end(trainer)
            if not self.pending:
                self._begin(trainer, self._freeze(trainer.steps))

    def _begin(self, trainer: Trainer, played: Played) -> None:
        """Play, and tell the scores if the training waits for them."""
        self._played, self._abort = played, False
        if self._background is not None:
            self.done = played.step
            self._background.begin(lambda: self._play_beside(played))
            return
        with self._left_out_at_a_fault(played):
            scores = self._play(played, self._message, None)
        self._played = played if scores is None else None
        if scores is not None:
            self.done = played.step
            self._tell(trainer, played, scores)

    def _play_beside(self, played: Played) -> None:
        torch.set_num_threads(1)  # of this thread: the others are the training's
        self._scores = self._play(played, self._lines.append, lambda: self._abort or self._stopped())

    def _end(self, trainer: Trainer) -> None:
        """Wait for the one that is played, if any, and tell its scores."""
        if self._background is None or self._played is None:
            return
        with self._left_out_at_a_fault(self._played):
            self._background.end()
        while self._lines:
            self._message(self._lines.pop(0))
        played, scores, self._scores = self._played, self._scores, None
        if scores is not None:
            self._played = None
            self._tell(trainer, played, scores)

    @contextmanager
    def _left_out_at_a_fault(self, played: Played) -> Iterator[None]:
        """A context after whose EnvironmentFault the evaluation counts as made."""
        try:
            yield
        except EnvironmentFault:
            self._played, self.done = None, played.step
            raise

    def _tell(self, trainer: Trainer, played: Played, scores: Scores) -> None:
        if not scores.scores:
            self._message(f"evaluation at step {played.step:,}: no game ended, so there is no score")
            return
        self._report(played, scores)
        if scores.mean > self.best:
            try:
                self._keep_best(played, scores.mean)
                self.best = scores.mean
            except CheckpointError as error:
                self._message(f"the best model is not kept: {error}")
        trainer.evaluated(scores)

    def get_state(self) -> dict[str, Any]:
        """The best mean score so far, the step of the last evaluation, and what one that is not told plays with."""
        state = {"best": float(self.best), "done": self.done}
        if self._played is None:
            return state
        played = self._played
        kept = {"step": played.step, "due": played.due, "acting": played.acting.state_dict(), "model": played.model}
        return {**state, "played": kept}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `get_state`'s state; one that was begun is played again at the start."""
        self.best, self.done = float(state["best"]), int(state["done"])
        if "played" in state:
            kept, acting = state["played"], copy.deepcopy(self._freeze(self.done).acting)
            acting.load_state_dict(kept["acting"])
            self._played = Played(int(kept["step"]), int(kept["due"]), acting, kept["model"])
