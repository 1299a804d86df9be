"""A whole training run: agent, environments, folder, loop and callbacks. It needs no terminal and no main thread."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from agents.learner.finite import NonFiniteError
from agents.runtime.background import Background
from agents.runtime.devices import device_name
from agents.runtime.distributed import join, share
from agents.runtime.hardware import tuned
from agents.settings.flat import replace, to_json
from agents.settings.presets.protocols import conditions
from agents.settings.run import AUTO, TrainSettings
from agents.training.agent_spec import AgentSpec
from agents.training.callbacks import Checkpointing, Endless, Log, Shown
from agents.training.evaluation import Scores
from agents.training.evaluation_table import EvaluationTable
from agents.training.evaluations import Evaluation, Played, play_games, seed_of, waits
from agents.training.protocols import NullProgress, Progress
from agents.training.run_directory import RunDirectory, default_folder, made_by
from agents.training.safe_progress import SafeProgress
from agents.training.saving import Saving, check_checkpoint
from agents.training.stored_sizes import check_processes, check_sizes
from agents.training.summary import summary
from agents.training.task import Task
from agents.training.trackers import check_tracking, open_tracker, record_settings
from agents.training.trainer import Callback, Trainer
from wnrl.checkpoints.checkpoints import Checkpoints
from wnrl.tracking.tracker import NullTracker, Tracker


def _never() -> bool:
    return False


class Run:
    """A training run, ready to learn: settings that do not fit have been refused.

    In a run of several processes the first one evaluates, writes metrics and models, and shows progress; all report a
    checkpoint that cannot be written or read.

    Args:
        spec: of the agent.
        settings: of the run and of the agent; with `resume` set, the run continues from its last checkpoint.
        task: to learn; by default that of the settings.
        keep: whether to write a folder, with metrics, checkpoints and models; without, nothing is written.
        more: with `resume`, the steps beyond its last checkpoint instead of the length in the settings; 0 only looks.
        stop: asked before each step whether to stop.
        progress: shows how far the run is.
        callbacks: after the run's own.

    Attributes:
        stop, progress: as given; they may be replaced between two calls of `learn`.
        settings: of the run and of the agent.
        agent: that learns.
        directory: where everything is written; None where nothing is.
        steps: steps made so far.

    Raises:
        ValueError: a setting does not fit the task or the machine, or there is no checkpoint to resume from.
    """

    def __init__(
        self,
        spec: AgentSpec,
        settings: TrainSettings[Any],
        *,
        task: Task | None = None,
        keep: bool = True,
        more: int | None = None,
        stop: Callable[[], bool] = _never,
        progress: Progress | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self._spec, self.settings, self.stop = spec, settings, stop
        self._task = Task(settings.run.task) if task is None else task
        self._ranks = ranks = join()
        if ranks.world_size > 1 and not spec.supports_torchrun:
            raise ValueError(f"{spec.name} runs in one process: leave torchrun out")
        check_tracking(settings, keep=keep)
        own = share(settings, ranks)
        if settings.run.resume is not None and settings.run.resumes:
            path = settings.run.resume
            check_sizes(own, path, RunDirectory(path).checkpoints_of(ranks.rank), ranks.world_size)
        self._environment = environment = self._task.training(own.run.num_envs, own.run.env_groups)
        self.directory: RunDirectory | None = None
        try:
            self.agent = spec.build(own.run, own.agent, environment)
            self.agent.share(ranks)
            self.directory = self._open_directory(looks=more == 0) if keep else None
            self._saving = Saving(spec.name, self.agent, self._task, self._state, self.directory, ranks, self._warn)
            self._checkpoints = self._saving.checkpoints
            self.progress: Progress = NullProgress() if progress is None else progress
            self._safe_progress = SafeProgress(lambda: self.progress)
            self.agent.learner.compiler.say = self._safe_progress.message
            self._own = self._callbacks()
            self._trainer = Trainer(self.agent, environment, seed=settings.run.seed, ranks=ranks)
            self.set_callbacks(callbacks)
            if settings.run.resumes:
                self._resume(more)
            self._tracker, self._evaluations = self._open_tables(looks=more == 0)
        except BaseException:
            environment.close()
            self._release()
            raise

    def set_callbacks(self, callbacks: Sequence[Callback]) -> None:
        """Call these after the run's own, instead of those before."""
        self._trainer.callbacks = [*self._own, *callbacks]

    def _open_directory(self, looks: bool) -> RunDirectory:
        """The run's folder, which the first process makes or finds, and holds until the end unless it only looks."""
        if self._ranks.rank:
            return RunDirectory(self._ranks.broadcast(None))
        run, name = self.settings.run, self._spec.name
        if run.resume is not None and run.resumes:
            directory = RunDirectory.open(run.resume, write=not looks)
            if not looks:
                directory.hold()
        else:
            path = run.run_dir or default_folder(run.task.name, name, run.network.norm, run.seed)
            directory = self._create_directory(path, hold=True)
        self._ranks.broadcast(directory.path)
        return directory

    def _create_directory(self, path: Path, *, hold: bool = False) -> RunDirectory:
        config, again = {"agent": self._spec.name, "settings": to_json(self.settings)}, self.settings.run.resume == AUTO
        return RunDirectory.create(path, config, device=self._device, again=again, hold=hold)

    def _open_tables(self, looks: bool) -> tuple[Tracker, EvaluationTable | None]:
        """Where metrics and scores are written: by the first process, and nowhere if it only looks.

        Raises:
            ValueError: nothing can be written; of a new run nothing is left.
        """
        if looks or self._ranks.rank or not self.directory:
            return NullTracker(), None
        resumed = self.steps if self.settings.run.resumes else None
        try:
            tracker = self._open_tracker(self.directory.path, resumed)
            return tracker, EvaluationTable(self.directory.path, resumed, self._warn)
        except OSError as error:
            if resumed is None:
                self.directory.discard()
            raise ValueError(f"cannot write the run to {self.directory.path}: {error.strerror or error}") from error

    def _open_tracker(self, folder: Path, resumed: int | None) -> Tracker:
        tracker = open_tracker(self.settings, folder, resumed, self._warn)
        if resumed is None:
            record_settings(tracker, self._spec, self.settings, self._task.observation)
        if self.conditions and resumed is None:
            tracker.text("conditions", self.conditions)
        return tracker

    def _callbacks(self) -> list[Callback]:
        run = self.settings.run
        self._waits = waits(run, self.agent.learner.device)
        self._evaluation = Evaluation(
            self._play,
            self._freeze,
            run.eval_interval,
            report=self._evaluated,
            keep_best=lambda played, score: self._saving.save_best(played.step, score, played.model),
            message=self._warn,
            background=None if self._waits else Background(self.agent.learner.device),
            stopped=lambda: self.stop(),
        )
        interval = run.checkpoint_interval if self.directory else 0
        checkpointing = Checkpointing(
            self._saving.begin,
            interval,
            run.log_interval,
            message=self._warn,
            ranks=self._ranks,
            writes=lambda: self._saving.writes,
            tell=self._saving.tell,
        )
        if self._ranks.rank:
            return [checkpointing]
        log = Log(self._report, run.log_interval, self._environment.frame_skip)
        endless = [Endless(self._warn)] if self._spec.learns_from_games else []
        return [Shown(lambda: self._shown), log, *endless, self._evaluation, checkpointing]

    def _resume(self, more: int | None) -> None:
        """Continue from the last checkpoint that is whole, in every process."""
        assert self.directory is not None
        assert isinstance(self._checkpoints, Checkpoints)
        if more != 0:
            self._checkpoints.sweep()
        step, state = self._checkpoints.latest(check=check_checkpoint)
        for path in self._checkpoints.damaged:
            self._warn(f"checkpoint {path} cannot be used, damaged or not finite: continuing from the one before")
        check_processes(state, self._ranks.world_size)
        if (common := self._ranks.min(step)) < step:
            step, state = self._checkpoints.latest(at_most=common, check=check_checkpoint)
        if self._ranks.min(step) < step:
            raise ValueError(
                f"the {self._ranks.world_size} processes have no checkpoint at a common step in "
                f"{self.directory.checkpoints}"
            )
        if more is not None:
            self.settings = replace(self.settings, steps=step + more)
        self._restore(step, state)
        due = self._ranks.sum(int(self._evaluation.pending))  # the first process alone evaluates
        if more is None and step >= self.settings.run.steps and not due:
            raise ValueError(f"the run is at step {step} already: ask for more by --steps")
        if self._trainer.refused:
            self._warn(
                f"new games begin, the environments' state in the checkpoint does not fit: {self._trainer.refused}"
            )
        if not self._ranks.rank and more != 0:  # so that the next resume goes on with the same
            settings = to_json(self.settings) | {"schedule_steps": self.settings.run.schedule_end}
            self.directory.go_on(self.steps, settings, self._device)
        self._evaluation.best = max(self._evaluation.best, self._saving.best_score(self._warn))

    def _restore(self, step: int, state: Mapping[str, Any]) -> None:
        assert self.directory is not None
        try:
            self._trainer.set_state(state["trainer"])
            self._evaluation.set_state(state["evaluation"])
            if self.steps != step:
                raise ValueError(f"it is of step {self.steps!r}, its file's name of step {step}")
        except Exception as error:  # whatever such a file can hold
            text = " ".join((str(error) or type(error).__name__).split())
            version = made_by(self.directory.config)
            raise ValueError(f"the checkpoint does not fit this version: {text}. It is of {version}") from error

    @property
    def _device(self) -> str:
        return device_name(self.agent.learner.device)

    @property
    def _shown(self) -> Progress:
        return NullProgress() if self._ranks.rank else self._safe_progress

    def _warn(self, text: str) -> None:
        self._safe_progress.warn(text)  # in every process

    @property
    def steps(self) -> int:
        """Steps made so far, in all processes."""
        return self._trainer.steps

    @property
    def finished(self) -> bool:
        """Whether it has its length, and all of its evaluations."""
        return self.steps >= self.settings.run.steps and not self._evaluation.pending

    @property
    def conditions(self) -> str:
        """In words, the conditions under which its games are scored; empty where the task is no Atari game."""
        return conditions(self._task.describe(), self.agent.evaluation_options)

    @property
    def training_scores(self) -> list[float]:
        """True scores of the last 100 games of training, oldest first."""
        return self._trainer.statistics.get_state()["scores"].tolist()

    def learn(self, total_steps: int | None = None) -> None:
        """Train, then leave a checkpoint and a model, whether the length was reached or `stop` was asked for.

        It may be called again with a larger `total_steps`, and continues.

        Args:
            total_steps: length of the run in steps, from its very start; by default that of the settings.
        """
        try:
            if self.directory and not self._ranks.rank:
                self.directory.hold()
            self._learn(self.settings.run.steps if total_steps is None else total_steps)
            self._note_breakdown(None)
        except NonFiniteError:
            self._note_breakdown(self.steps)
            raise
        finally:
            self._release()  # an agent that is kept does not keep others from going on

    def _note_breakdown(self, step: int | None) -> None:
        """Note in the folder that learning broke down at a step, or, with None, that it did not."""
        if self.directory and not self._ranks.rank:
            try:
                self.directory.note_breakdown(step)
            except ValueError as error:
                self._warn(f"config.json does not say whether learning broke down: {error}")

    def _learn(self, total_steps: int) -> None:
        if (last := self._checkpoints.last_step) > self.steps and not self._ranks.rank:
            raise ValueError(
                f"the run's folder has a checkpoint of step {last:,}, and this run is at {self.steps:,}: another "
                "process or agent has gone on there; resume or load it again"
            )
        if total_steps > self.settings.run.steps:  # so that a resumed run has its length, and its schedules
            run = self.settings.run
            self.settings = replace(self.settings, steps=total_steps, schedule_steps=run.schedule_end)
            if self.directory and not self._ranks.rank:
                self.directory.change_settings(steps=total_steps, schedule_steps=run.schedule_end)
        shown = self._shown
        self._announce(total_steps)
        try:
            with tuned(self.agent.learner.network, self.agent.learner.device):
                self._trainer.run(total_steps, self.stop)
            shown.close()
            self._saving.save_somewhere(self.steps, self._create_directory)
        except BaseException as error:
            shown.close()
            second = isinstance(error, KeyboardInterrupt) and self.stop()
            self._saving.rescue(self.steps, error, self._create_directory, at_once=second)
            raise

    def _announce(self, total_steps: int) -> None:
        """Say what the run is about to do, and what is odd about it."""
        shown, where = self._shown, f" in {self.directory.path}" if self.directory else ""
        shown.start(self.steps, total_steps)
        shown.message(f"resuming at step {self.steps:,}{where}" if self.steps else f"training{where}")
        if not self.steps:
            for line in summary(self._spec.name, self.settings, self.agent, self._environment, total_steps):
                shown.message(line)
        if idle := self.learns_nothing(total_steps):
            end = self.settings.run.schedule_end
            what = idle.replace("_", " ")
            shown.message(
                f"the {what} is 0 after step {end:,}, where its schedule ended: --schedule-steps N stretches it"
            )
        if warm_up := self.warm_up_of(total_steps):
            shown.message(f"nothing will be learned: all steps until {warm_up:,} are random (--learning-starts)")
        if self._task.remark:
            shown.message(self._task.remark)
        if self.conditions:
            shown.message(f"games are scored with {self.conditions}")

    def warm_up_of(self, total_steps: int) -> int:
        """The length of the random warm-up where a run to `total_steps` is no longer than that; else 0."""
        replay = getattr(self.settings.agent, "replay", None)
        return replay.learning_starts if replay and total_steps <= replay.learning_starts else 0

    def learns_nothing(self, total_steps: int) -> str:
        """The setting whose schedule has ended at 0, so that steps up to `total_steps` change little; empty if none."""
        if self.steps < self.settings.run.schedule_end:
            return ""
        if self.agent.learner.learning_rate(total_steps) == 0:
            return "learning_rate"
        return "clip_range" if getattr(self.settings.agent, "clip_range_schedule", "") == "linear" else ""

    def save(self, path: Path | None = None) -> None:
        """Write a checkpoint and the model of now, into the run's folder or into a new one.

        Args:
            path: of the new folder; None: the run's own, and nothing where it has none.

        Raises:
            ValueError: the new folder holds files already, or cannot be written to.
            CheckpointError: a file cannot be written.
        """
        if path is None:
            self._saving.save(self.steps)
        else:
            self._saving.save_to(self._create_directory(path), self.steps)

    def close(self) -> None:
        """Close the environments and the metrics' files, and let others write to the folder."""
        try:
            self._environment.close()
            try:
                self._tracker.close()
            except OSError as error:
                self._warn(f"the metrics' files are not closed: {error}")
        finally:
            self._release()

    def _release(self) -> None:
        if self.directory is not None:
            self.directory.release()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _report(self, step: int, metrics: dict[str, float]) -> None:
        self._shown.report(step, metrics)
        try:
            self._tracker.write(step, metrics)
        except OSError as error:
            self._warn(f"no row of metrics at step {step:,}: {error}; the run goes on")

    def _state(self) -> dict[str, Any]:
        """What a checkpoint holds, of now.

        Of the trainer: its steps, episode statistics, the environment where it can be restored, and the agent (network,
        optimizer, metrics so far; target network, replay buffer or rollout; random generators).
        """
        return {
            "trainer": self._trainer.snapshot(),
            "evaluation": self._evaluation.get_state(),
            "processes": self._ranks.world_size,
        }

    def _evaluated(self, played: Played, scores: Scores) -> None:
        """Report the scores of an evaluation; what the training has logged meanwhile is of later steps."""
        step = played.step
        metrics = {"eval/mean_reward": scores.mean, "eval/mean_ep_length": scores.mean_length}
        if scores.overestimation is not None:
            metrics["diagnostics/overestimation"] = scores.overestimation
        self._shown.report(step, metrics)
        try:
            if self._evaluations is not None:
                self._evaluations.append(step, time.time(), seed_of(self.settings.run, played), scores)
            write = self._tracker.write if self._waits else self._tracker.write_late
            write(step, metrics)
        except OSError as error:
            self._warn(f"the scores of the evaluation at step {step:,} are not written: {error}; the run goes on")

    def _freeze(self, step: int) -> Played:
        """What an evaluation at a step plays with."""
        acting = self.agent.newest()
        self.agent.learner.check_finite(self.steps)
        interval = self.settings.run.eval_interval
        due = step - step % interval if interval else step
        if self._waits:
            return Played(step, due, acting)
        return Played(step, due, copy.deepcopy(acting), self._saving.tensors())

    def _play(
        self, played: Played, message: Callable[[str], None], aborted: Callable[[], bool] | None
    ) -> Scores | None:
        """The scores of one evaluation; None when a stop is asked for meanwhile.

        Args:
            played: with what.
            message: called with a line of text.
            aborted: whether to stop, where the training goes on meanwhile; None: as the run is, with its display.
        """

        def ended() -> bool:
            self._ranks.check()  # the other processes wait for this one
            return self.stop()

        run, stopped = self.settings.run, aborted or ended
        shown = self._shown.evaluating if aborted is None else (lambda part, whole: None)
        games = play_games(run, self.agent, self._task, played, message=message, stopped=stopped, shown=shown)
        if stopped():
            return None
        scores = Scores.of(games.episodes, run.task.game, self.conditions)
        return dataclasses.replace(scores, overestimation=games.overestimation)
