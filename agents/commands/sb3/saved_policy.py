"""Games of a policy that a run with stable-baselines3 has saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled
from stable_baselines3.common.vec_env import VecEnv

from agents.commands.evaluate import EvaluateSettings, open_video, score_line, video_path, with_end_of
from agents.commands.played_model import PlaySettings
from agents.commands.sb3.games import Games, play_games
from agents.commands.sb3.vec_envs import make_evaluation_envs
from agents.commands.watch import WatchSettings, open_window, result
from agents.runtime.devices import resolve_device
from agents.runtime.seeds import Purpose, integer
from agents.settings.trust import check_trusted
from agents.training.run_directory import RunDirectory
from agents.training.saved_model import SavedModel, check_description, count_evaluations, find_model
from agents.watching.spectator import Spectator
from agents.watching.video import size_for
from agents.watching.window import SIZE
from envs.gym import render_fps
from wnrl.checkpoints.tensor_files import read_model
from wnrl.sb3 import load_policy

NO_VALUES = "values are drawn for the agents of this library, and this run is of stable-baselines3: leave them out"


def play_saved_policy(directory: RunDirectory, settings: EvaluateSettings) -> str:
    """Play whole games with a run's policy and return the result as text.

    Raises:
        ValueError: as `opened`, or video needs what is not installed or cannot be written (then the result is printed),
            or values of the actions are asked for.
    """
    if settings.values:
        raise ValueError(NO_VALUES)
    number = min(settings.num_envs, settings.episodes)
    with opened(directory, settings, number, pictures=settings.video is not None) as (model, environment):
        path = video_path(directory, settings, model.name, model.description["step"])
        screen = Screen(environment, model.description)
        with open_video(settings, path, screen.render_fps) as video:
            spectator = Spectator(screen, video, size=size_for(path), games=1) if video else None
            games = _games(model, environment, settings, settings.episodes, spectator)
            assert games is not None
            return with_end_of(video, score_line(model, games.scores, settings.manner(model.description["play"])))


def watch_saved_policy(directory: RunDirectory, settings: WatchSettings) -> str:
    """Show games of a run's policy in a window; raises as `play_saved_policy`."""
    if settings.values:
        raise ValueError(NO_VALUES)
    with opened(directory, settings, 1, pictures=True) as (model, environment):
        screen = Screen(environment, model.description)
        with closing(open_window(settings, model, screen.render_fps)) as window:
            spectator, stopped = Spectator(screen, window, size=SIZE), lambda: window.closed
            games = _games(model, environment, settings, settings.episodes, spectator, stopped=stopped)
    return result(model, games.scores if games else [], settings)


@contextmanager
def opened(
    directory: RunDirectory, settings: PlaySettings, number: int, *, pictures: bool
) -> Iterator[tuple[SavedModel, VecEnv]]:
    """A run's policy, read from safetensors and JSON alone, and environments to play in.

    Args:
        directory: of the run.
        settings: which policy.
        number: of environments.
        pictures: whether the first of them has pictures.

    Raises:
        ValueError: the run has no such policy, or it does not fit its task.
    """
    name = find_model(directory.path, settings.model)
    _, about = read_model(directory.path / name)
    check_description(directory.path / name, about)
    if not settings.trust:
        check_trusted(directory.path, about["env"], about["emulator"].get("env_kwargs", {}))
    settings.manner(about["play"])  # before environments are made
    seed = integer(settings.seed, Purpose.GAMES, bits=31)
    with closing(make_evaluation_envs(about, number, seed, pictures=pictures)) as environment:
        spaces = environment.observation_space, environment.action_space
        device = resolve_device(settings.device)
        policy = load_policy(directory.path / name, *spaces, device=device, trust=settings.trust)
        yield SavedModel(policy, about, name, count_evaluations(directory.path)), environment


def _games(
    model: SavedModel,
    environment: VecEnv,
    settings: PlaySettings,
    episodes: int,
    spectator: Spectator | None,
    **options: Any,
) -> Games | None:
    if spectator is not None:
        options |= {"watch": spectator.show, "ended": spectator.end_game}
    play, draws = settings.manner(model.description["play"]), integer(settings.seed, Purpose.GAMES_POLICY)
    policy: Any = model.network
    return play_games(policy, environment, episodes, seed=draws, **play, **options)


class Screen:
    """The pictures of environment 0, for a `Spectator`.

    Args:
        environment: made with pictures.
        task: of it.

    Attributes:
        render_fps: steps a second in real time.
    """

    def __init__(self, environment: VecEnv, task: Mapping[str, Any]) -> None:
        self._environment, game = environment, task["game"] is not None
        skip = task["emulator"].get("frame_skip", 4) if game else 1
        self.render_fps = 60 / skip if game else render_fps(getattr(environment, "metadata", {}))

    def render(self) -> np.ndarray:
        """The picture, `[H, W, 3]` uint8; raises RuntimeError where there is none."""
        try:
            picture = next(iter(self._environment.get_images()), None)
        except (DependencyNotInstalled, NotImplementedError) as error:
            raise RuntimeError(" ".join(str(error).split())) from error
        if picture is None:
            raise RuntimeError("the environment has no pictures")
        return picture
