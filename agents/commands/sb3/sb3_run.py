"""A run of an algorithm of stable-baselines3: environments, model, folder, metrics and evaluations."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from importlib import metadata
from math import prod
from numbers import Real
from types import TracebackType
from typing import Any, cast

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback, EveryNTimesteps, LogEveryNTimesteps
from stable_baselines3.common.logger import HumanOutputFormat, KVWriter, Logger

from agents.commands.evaluate import score_line
from agents.commands.sb3.algorithms import CONTRIB, hyperparams, make_model
from agents.commands.sb3.games import Games, check_epsilon, play_games, takes_masks
from agents.commands.sb3.vec_envs import describe_task, make_evaluation_envs, make_training_envs
from agents.runtime.devices import device_name, resolve_device
from agents.runtime.seeds import Purpose, integer
from agents.settings.flat import to_json
from agents.settings.presets.protocols import conditions
from agents.settings.sb3 import SB3Settings
from agents.settings.task import TaskSettings
from agents.training.run_directory import RunDirectory, default_folder
from agents.training.saved_model import SavedModel
from agents.training.task import Task
from agents.training.trackers import in_order
from wnrl.checkpoints.tensor_files import read_shapes
from wnrl.initialization.initialize import FROM_DATA
from wnrl.sb3 import DataDependentInit, NormDiagnostics, policy_files, save_policy
from wnrl.tracking.tracker import RunTracker, Tracker

LIBRARY = "stable-baselines3"
"""What `config.json` calls the library of such a run."""
EVALUATION_ENVS = 8
"""Games that are played in parallel in an evaluation."""


class SB3Run:
    """A run, ready to learn: arguments that do not fit have been refused.

    Args:
        settings: of the run.
        stop: asked at each step whether to stop.

    Attributes:
        directory: where everything is written.
        model: of the library.

    Raises:
        ValueError, TypeError, AssertionError, ImportError: as `make_model`, or the folder is in use.
    """

    def __init__(self, settings: SB3Settings, stop: Callable[[], bool] = lambda: False) -> None:
        self._settings, self._stop = settings, stop
        self._task, self._best = describe_task(settings.task), -np.inf
        device = resolve_device(settings.device)
        values = hyperparams(settings, device)
        seed = integer(settings.seed, Purpose.TRAINING, bits=31)
        self._environment = make_training_envs(self._task, settings.num_envs, seed)
        try:
            self.model = make_model(settings, self._environment, values, device)
            self._environment.seed(seed)  # the library has seeded it as the model
            check_epsilon(self.model, self._environment, settings.eval_epsilon)
            self.directory = self._create_directory(values)
        except BaseException:
            self._environment.close()
            raise
        self._tracker = RunTracker(self.directory.path)
        defaults = {"agent": settings.algo, **to_json(type(settings)())}
        self._tracker.settings(in_order({"agent": settings.algo, **to_json(settings), **values}), defaults)
        if self.conditions:
            self._tracker.text("conditions", self.conditions)
        outputs = [HumanOutputFormat(sys.stdout), TrackerOutput(self._tracker)]
        self.model.set_logger(Logger(str(self.directory.path), outputs))

    def _create_directory(self, values: Mapping[str, Any]) -> RunDirectory:
        run = self._settings
        path = run.run_dir or default_folder(run.task.name, run.algo, run.norm, run.seed)
        config = {"agent": run.algo, "library": LIBRARY, "settings": to_json(run), "hyperparams": values}
        if run.algo in CONTRIB:
            config["sb3-contrib"] = metadata.version("sb3-contrib")
        return RunDirectory.create(path, config, device=device_name(self.model.device), resumable=False, hold=True)

    @property
    def steps(self) -> int:
        """Steps made so far."""
        return self.model.num_timesteps

    @property
    def task(self) -> TaskSettings:
        """What it learns."""
        return self._settings.task

    @property
    def id_remark(self) -> str:
        """A line on a game that is given as an id; see `agents.training.task`."""
        return Task(self._settings.task).remark

    @property
    def conditions(self) -> str:
        """In words, the conditions under which its games are scored; empty where the task is no Atari game."""
        return conditions(self._task, self._play)

    @property
    def _play(self) -> dict[str, Any]:
        return {"epsilon": self._settings.eval_epsilon}

    def learn(self) -> None:
        """Train to the end, or until a stop is asked for."""
        masks = {"use_masking": self._environment.has_attr("action_masks")} if takes_masks(self.model) else {}
        learn = cast(Any, self.model).learn
        learn(self._settings.steps, callback=self._callbacks(), log_interval=None, **masks)

    def _callbacks(self) -> list[BaseCallback]:
        run = self._settings
        callbacks: list[BaseCallback] = [NormDiagnostics(), ConvertCallback(lambda *_: not self._stop())]
        if run.init in FROM_DATA:
            callbacks.append(DataDependentInit(init=run.init))
        if run.eval_interval and run.eval_episodes:
            callbacks.append(EveryNTimesteps(run.eval_interval, ConvertCallback(self._evaluate_amid)))
        return [*callbacks, Rows(run.log_interval)]

    def _evaluate_amid(self, *_: Any) -> bool:
        """Evaluate before the end, after which there is an evaluation anyway; whether to go on."""
        if self.steps < self._settings.steps and not self._stop():
            self.evaluate()
        return not self._stop()

    def evaluate(self) -> str | None:
        """Play whole games in environments of their own, record the scores, and keep the policy if it is the best.

        Returns:
            The result as text, or None if there was to be no game or a stop was asked for.
        """
        run = self._settings
        if not run.eval_episodes:
            return None
        number = min(EVALUATION_ENVS, run.eval_episodes)
        seed = integer(run.seed, Purpose.EVALUATION, self.steps, bits=31)
        with closing(make_evaluation_envs(self._task, number, seed)) as environment:
            drawing = {**self._play, "seed": integer(run.seed, Purpose.EVALUATION_POLICY, self.steps)}
            games = play_games(self.model, environment, run.eval_episodes, stopped=self._stop, **drawing)
        if games is None:
            return None
        self._record(games)
        model = SavedModel(self.model.policy, self._describe(float(np.mean(games.scores))), "model")
        return score_line(model, games.scores, model.description["play"])

    def _record(self, games: Games) -> None:
        mean, logger = float(np.mean(games.scores)), self.model.logger
        logger.record("eval/mean_reward", mean)
        logger.record("eval/mean_ep_length", float(np.mean(games.lengths)))
        logger.record("time/total_timesteps", self.steps, exclude="tensorboard")
        logger.dump(self.steps)
        if mean > self._best:
            self._best = mean
            save_policy(self.model, self.directory.path / "best", self._describe(mean))

    def save(self) -> None:
        """Write the model as the library does, to `model.zip`, and its policy to `model.safetensors` and `.json`."""
        self.model.save(self.directory.path / "model.zip")
        save_policy(self.model, self.directory.path / "model", self._describe(None))

    @property
    def is_large(self) -> bool:
        """Whether the saved policy has so many numbers that no more than a file of your own may."""
        shapes = read_shapes(self.directory.path / "model.safetensors")
        return sum(map(prod, shapes.values())) > policy_files.MOST_NUMBERS

    def save_finite(self) -> bool:
        """Save, unless a number of the policy is not finite; whether it did."""
        finite = all(bool(parameter.isfinite().all()) for parameter in self.model.policy.parameters())
        if finite:
            self.save()
        return finite

    def _describe(self, score: float | None) -> dict[str, Any]:
        """What a saved policy's description has besides the policy, as those of our agents."""
        about = {"agent": self._settings.algo, **self._task, "play": self._play}
        return {**about, "step": self.steps, "mean_reward": score}

    def close(self) -> None:
        """Close the environments and the metrics' files."""
        try:
            self._environment.close()
            self._tracker.close()
        finally:
            self.directory.release()

    def __enter__(self) -> SB3Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if kind is not None and not self.steps:  # an argument did not fit
            shutil.rmtree(self.directory.path)


class TrackerOutput(KVWriter):
    """An output of the library's logger that writes numbers to TensorBoard and `progress.csv`.

    Args:
        tracker: of the run.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Write a row, without what the library keeps out of TensorBoard: the step itself, and clocks."""
        shown = {tag: value for tag, value in key_values.items() if "tensorboard" not in (key_excluded[tag] or ())}
        self._tracker.write(step, {tag: float(value) for tag, value in shown.items() if isinstance(value, Real)})


class Rows(LogEveryNTimesteps):
    """Writes a row of metrics at an interval of steps, and one at the end."""

    def _on_training_end(self) -> None:
        if self.num_timesteps > self.last_time_trigger:
            cast(Any, self.model).dump_logs()
