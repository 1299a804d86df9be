"""Games of a policy that a run with stable-baselines3 has saved."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled
from stable_baselines3.common.vec_env import VecEnv

from agents.commands.evaluate import EvaluateSettings, score_line, video_path
from agents.commands.sb3.games import play_games
from agents.commands.sb3.vec_envs import make_evaluation_envs
from agents.runtime.devices import resolve_device
from agents.runtime.seeds import Purpose, integer
from agents.settings.trust import check_trusted
from agents.training.run_directory import RunDirectory
from agents.training.saved_model import SavedModel, check_description, count_evaluations, find_model
from agents.training.video import Video
from wnrl.checkpoints.tensor_files import read_model
from wnrl.sb3 import load_policy


def play_saved_policy(directory: RunDirectory, settings: EvaluateSettings) -> str:
    """Play whole games with a run's policy, read from safetensors and JSON alone, and return the result as text.

    Raises:
        ValueError: the run has no such policy, it does not fit its task, or video needs what is not installed.
    """
    name = find_model(directory.path, settings.model)
    _, about = read_model(directory.path / name)
    check_description(directory.path / name, about)
    if not settings.trust:
        check_trusted(directory.path, about["env"], about["emulator"].get("env_kwargs", {}))
    play = about["play"] | ({} if settings.epsilon is None else {"epsilon": settings.epsilon})
    number = min(settings.num_envs, settings.episodes)
    seed, drawing = integer(settings.seed, Purpose.GAMES, bits=31), integer(settings.seed, Purpose.GAMES_POLICY)
    with closing(make_evaluation_envs(about, number, seed, pictures=settings.video)) as environment:
        spaces = environment.observation_space, environment.action_space
        policy = load_policy(
            directory.path / name, *spaces, device=resolve_device(settings.device), trust=settings.trust
        )
        path = video_path(directory, settings, name, about["step"])
        video = Video(Screen(environment, about), path) if settings.video else None
        watching: dict[str, Any] = {"watch": video.record} if video else {}
        games = play_games(policy, environment, settings.episodes, seed=drawing, **play, **watching)
    assert games is not None
    line = score_line(SavedModel(policy, about, name, count_evaluations(directory.path)), games.scores, play)
    return f"{line}\nvideo of the first game: {video.close()}" if video else line


class Screen:
    """The pictures of environment 0, for `Video`.

    Args:
        environment: made with pictures.
        task: of it.

    Attributes:
        frame_skip: emulator frames per step; 1 where there is no emulator.
    """

    def __init__(self, environment: VecEnv, task: Mapping[str, Any]) -> None:
        self._environment = environment
        self.frame_skip = 1 if task["game"] is None else task["emulator"].get("frame_skip", 4)

    def render(self) -> np.ndarray:
        """The picture, `[H, W, 3]` uint8; raises RuntimeError where there is none."""
        try:
            picture = next(iter(self._environment.get_images()), None)
        except (DependencyNotInstalled, NotImplementedError) as error:
            raise RuntimeError(" ".join(str(error).split())) from error
        if picture is None:
            raise RuntimeError("the environment has no pictures")
        return picture
