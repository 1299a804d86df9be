"""A whole training run: its folder, its parts, the loop, and leaving it in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from agents.building import make_evaluation_environment, make_training_environment, network_description
from agents.dqn import DQN
from agents.evaluation import Policy, evaluate, evaluate_steps
from agents.run_directory import RunDirectory
from agents.settings import RunSettings, emulator_options
from agents.signals import StopSignal
from agents.terminal import Progress
from agents.training import Checkpointing, Evaluation, Log, Report, Trainer
from envs import Environment, Episode
from wnrl.checkpoints import Checkpoints
from wnrl.folding import fold
from wnrl.tracking import RunTracker


def prepare(settings: RunSettings, name: str, make_agent: Callable[[Environment], DQN]) -> Run:
    """A run that is ready to go: everything that a wrong setting can break has been tried.

    Args:
        settings: of the run; with `resume` set, its last checkpoint is where it begins.
        name: of the agent, for the folder and the models.
        make_agent: builds the agent for the environment.

    Raises:
        ValueError: a setting does not fit the task or the machine, or there is no checkpoint to resume from.
    """
    environment = make_training_environment(settings)
    agent = make_agent(environment)
    trainer = Trainer(agent, environment, seed=settings.seed)
    if settings.resume is None:
        return Run(settings, name, RunDirectory.create(settings, name), trainer, agent)
    run = Run(settings, name, RunDirectory.open(settings.resume), trainer, agent)
    run.resume()
    return run


class Run:
    """The parts of a run, put together.

    Args:
        settings: of the run.
        name: of the agent.
        directory: where everything is written.
        trainer: of `agent`; `go` gives it the run's hooks.
        agent: learns.
    """

    def __init__(self, settings: RunSettings, name: str, directory: RunDirectory, trainer: Trainer, agent: DQN) -> None:
        self._settings, self._name, self._directory = settings, name, directory
        self._trainer, self._agent, self._stop = trainer, agent, StopSignal()
        self._checkpoints = Checkpoints(directory.checkpoints)
        self._evaluation = Evaluation(self._play, self._policy, settings.eval_interval, keep_best=self._keep_best)

    def resume(self) -> None:
        """Go on from the last checkpoint that is whole.

        Raises:
            ValueError: there is none, or the run has made its steps already.
        """
        _, state = self._checkpoints.latest()
        for path in self._checkpoints.damaged:
            print(f"checkpoint {path} is damaged: going on from the one before", flush=True)
        if state["trainer"]["steps"] >= self._settings.steps:
            raise ValueError(f"the run is at step {state['trainer']['steps']} already: ask for more by --steps")
        self._trainer.set_state(state["trainer"])
        self._evaluation.set_state(state["evaluation"])

    def go(self) -> int:
        """Train, and leave a checkpoint and a model whatever ends the run; the process's exit code."""
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

    def _say_end(self) -> None:
        path, steps = self._directory.path, self._trainer.steps
        if self._stop():
            print(f"stopped at step {steps:,} with a checkpoint: go on with --resume {path}", flush=True)
        else:
            print(f"finished {steps:,} steps: python scripts/evaluate.py {path} measures the model", flush=True)

    def _state(self) -> dict[str, Any]:
        return {"trainer": self._trainer.get_state(), "evaluation": self._evaluation.get_state()}

    def _policy(self, step: int) -> Policy:
        rng = np.random.default_rng([self._settings.seed, 2, step])
        return lambda obs: self._agent.act_greedily(obs, self._settings.eval_epsilon, rng)

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
        description = {
            "agent": self._name,
            "network": network_description(self._settings, self._trainer.environment),
            "game": self._settings.game,
            "env": self._settings.env,
            "emulator": emulator_options(self._settings),
            "epsilon": self._settings.eval_epsilon,
            "step": step,
            "mean_reward": score,
        }
        self._directory.save_model(name, fold(self._agent.network).state_dict(), description)


EVALUATION_SEED = 1_000_000  # apart from the seeds of training
