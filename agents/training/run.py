"""A whole training run: its folder, its parts, the loop, and leaving it in order."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.acting.policies import Policy
from agents.commands.parser import fail, parse
from agents.commands.signals import StopSignal
from agents.learner.network import make_evaluation_environment, make_training_environment
from agents.registry import AgentKind
from agents.runtime.distributed import Ranks, join, share
from agents.settings.run import RunSettings, emulator_options
from agents.training.evaluation import evaluate, evaluate_steps
from agents.training.progress import Progress
from agents.training.run_directory import RunDirectory
from agents.training.trainer import Checkpointing, Evaluation, Log, Report, Trainer
from envs import Episode
from wnrl.checkpoints.checkpoints import Checkpoints
from wnrl.normalizers.folding import fold
from wnrl.tracking.tracker import RunTracker


def train(kind: AgentKind, description: str) -> int:
    """What a training script does: parse the command line and train; the process's exit code.

    Args:
        kind: of the agent.
        description: one line above the help.
    """
    try:
        run = prepare(parse(kind.settings, kind.preset, description), kind)
    except ValueError as error:
        if join().index:
            return 2  # the first process says it
        fail(error)
    except KeyboardInterrupt:
        return 130
    return run.go()


def prepare(settings: Any, kind: AgentKind) -> Run:
    """A run that is ready to go: everything that a wrong setting can break has been tried.

    Args:
        settings: of the run and of the agent; with `resume` set, its last checkpoint is where it begins.
        kind: of the agent.

    Raises:
        ValueError: a setting does not fit the task or the machine, or there is no checkpoint to resume from.
    """
    ranks = join()
    if ranks.number > 1 and not kind.shared:
        raise ValueError(f"{kind.name} runs in one process: leave torchrun out")
    own = share(settings, ranks)
    environment = make_training_environment(own)
    seed = settings.seed + ranks.index * environment.num_envs  # each environment has the one of a run in one process
    trainer = Trainer(kind.make(own, own, environment), environment, seed=seed, ranks=ranks)
    trainer.agent.learner.share(ranks)
    run = Run(settings, kind, _directory(settings, kind, ranks), trainer, ranks)
    if settings.resume is not None:
        run.resume()
    return run


def _directory(settings: Any, kind: AgentKind, ranks: Ranks) -> RunDirectory:
    """The run's folder, which the first process makes or finds."""
    if ranks.index:
        return RunDirectory(ranks.tell(None))
    found = RunDirectory.open(settings.resume) if settings.resume else RunDirectory.create(settings, kind.name)
    ranks.tell(found.path)
    return found


class Run:
    """The parts of a run, put together.

    Args:
        settings: of the run.
        kind: of the agent.
        directory: where everything is written.
        trainer: of the agent; `go` gives it the run's hooks.
        ranks: the processes that share the run; the first one writes, evaluates and speaks.
    """

    def __init__(
        self, settings: RunSettings, kind: AgentKind, directory: RunDirectory, trainer: Trainer, ranks: Ranks
    ) -> None:
        self._settings, self._kind, self._directory, self._ranks = settings, kind, directory, ranks
        self._trainer, self._stop = trainer, StopSignal(again=ranks.number == 1)
        self._checkpoints = Checkpoints(directory.checkpoints_of(ranks.index))
        self._evaluation = Evaluation(self._play, self._policy, settings.eval_interval, keep_best=self._keep_best)

    def resume(self) -> None:
        """Go on from the last checkpoint that is whole, in every process.

        Raises:
            ValueError: there is none, the run has made its steps already, or other processes made it.
        """
        step, state = self._checkpoints.latest()
        for path in self._checkpoints.damaged:
            print(f"checkpoint {path} is damaged: going on from the one before", flush=True)
        if (made := state.get("processes", 1)) != self._ranks.number:
            raise ValueError(f"the run is one of {made} processes: start as many (torchrun --nproc-per-node {made})")
        if (common := self._ranks.least(step)) < step:
            step, state = self._checkpoints.latest(at_most=common)
        if self._ranks.least(step) < step:
            raise ValueError(f"the {made} processes have no checkpoint of one step in {self._directory.checkpoints}")
        if state["trainer"]["steps"] >= self._settings.steps:
            raise ValueError(f"the run is at step {state['trainer']['steps']} already: ask for more by --steps")
        self._trainer.set_state(state["trainer"])
        self._evaluation.set_state(state["evaluation"])

    def go(self) -> int:
        """Train, and leave a checkpoint and a model whatever ends the run; the process's exit code."""
        if self._ranks.index:
            return self._follow()
        first, resumed = self._trainer.steps, self._settings.resume is not None
        frame_skip = self._trainer.environment.frame_skip
        tracker = RunTracker(self._directory.path, first if resumed else None)
        progress = Progress(self._settings.steps, first, frame_skip)
        progress.say(f"{f'resuming at step {first:,}' if resumed else 'training'} in {self._directory.path}")
        report = Report(tracker, progress.report)
        self._evaluation.report = report
        self._trainer.hooks = [
            progress,
            Log(report, self._settings.log_interval, frame_skip),
            self._evaluation,
            Checkpointing(self._checkpoints, self._settings.checkpoint_interval, self._state, progress.say),
        ]
        with self._stop:
            self._trainer.run(self._settings.steps, self._stop)
            progress.close()
            tracker.close()
            self._save_model("model", self._trainer.steps)
            self._checkpoints.save(self._trainer.steps, self._state())
        self._say_end()
        return self._stop.exit_code

    def _follow(self) -> int:
        """Train beside the first process."""
        interval = self._settings.checkpoint_interval
        self._trainer.hooks = [Checkpointing(self._checkpoints, interval, self._state, print)]
        with self._stop:
            self._trainer.run(self._settings.steps, self._stop)
            self._checkpoints.save(self._trainer.steps, self._state())
        return self._stop.exit_code

    def _say_end(self) -> None:
        path, steps = self._directory.path, self._trainer.steps
        if self._stop():
            print(f"stopped at step {steps:,} with a checkpoint: go on with --resume {path}", flush=True)
        else:
            print(f"finished {steps:,} steps: python scripts/evaluate.py {path} measures the model", flush=True)

    def _state(self) -> dict[str, Any]:
        return {
            "trainer": self._trainer.get_state(),
            "evaluation": self._evaluation.get_state(),
            "processes": self._ranks.number,
        }

    def _policy(self, step: int) -> Policy:
        return self._trainer.agent.policy(np.random.default_rng([self._settings.seed, 2, step]))

    def _play(self, policy: Policy, step: int) -> list[Episode]:
        """The games of one evaluation; none when a stop is asked for meanwhile."""
        settings = self._settings
        seed = EVALUATION_SEED + settings.seed
        if settings.eval_steps:
            environment = make_evaluation_environment(settings, settings.num_envs)
            episodes = evaluate_steps(policy, environment, steps=settings.eval_steps, seed=seed, stopped=self._stop)
        else:
            environment = make_evaluation_environment(settings, min(settings.num_envs, settings.eval_episodes))
            episodes = evaluate(policy, environment, episodes=settings.eval_episodes, seed=seed, stopped=self._stop)
        environment.close()
        return [] if self._stop() else episodes

    def _keep_best(self, step: int, score: float) -> None:
        self._save_model("best", step, score)

    def _save_model(self, name: str, step: int, score: float | None = None) -> None:
        settings, kind = self._settings, self._kind
        description = {
            "agent": kind.name,
            "network": kind.describe(settings, settings, self._trainer.environment),
            "game": settings.game,
            "env": settings.env,
            "emulator": emulator_options(settings),
            "play": kind.play(settings),
            "step": step,
            "mean_reward": score,
        }
        self._directory.save_model(name, fold(self._trainer.agent.learner.network).state_dict(), description)


EVALUATION_SEED = 1_000_000  # apart from the seeds of training
