"""The environments of a run, from its settings."""

from __future__ import annotations

from typing import Any

from agents.settings.run import RunSettings, TaskSettings
from envs import Environment, make
from envs.games import settings_of_id


def id_remark(task: TaskSettings) -> str:
    """A line on a game that is given as the id of an environment of Gymnasium; empty for any other task."""
    return (settings_of_id(task.game) or "") if task.game else ""


def make_training_environment(settings: RunSettings) -> Environment:
    """N environments to learn in, where a lost life ends the return if the settings say so."""
    task, options = settings.task, settings.task.emulator_options
    if task.game is not None:
        options["life_loss"] = task.life_loss
    return make(game=task.game, env=task.env, num_envs=settings.num_envs, **options)


def make_evaluation_environment(settings: RunSettings, num_envs: int, **options: Any) -> Environment:
    """Environments for true scores: whole games, whatever a lost life means in training."""
    task = settings.task
    return make(game=task.game, env=task.env, num_envs=num_envs, **task.emulator_options, **options)
