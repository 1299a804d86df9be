"""The command that shows a run's model playing in a window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from agents.commands.evaluate import score_line
from agents.commands.played_model import PlaySettings, is_of_sb3, open_run, play_games, read_model_of, run_player
from agents.settings.checks import check_at_least
from agents.watching.window import KEYS, SIZE, Window, check_display

if TYPE_CHECKING:  # torch comes with it, and is imported once the command line is right
    from agents.training.saved_model import SavedModel

SLOWEST, FASTEST = 0.01, 100.0
"""Factors that `--speed` takes."""
_FACTOR = tyro.conf.arg(metavar="FACTOR|max")


@dataclass(frozen=True)
class WatchSettings(PlaySettings):
    """The model that plays, and how it is shown."""

    episodes: int = 10
    """Games that are shown, one after the other."""
    speed: Annotated[str, _FACTOR] = "1"
    """Times real time, from 0.01 to 100, or max: as fast as the model plays. At most 60 pictures a second are drawn."""
    values: bool = False
    """Draw Q values or action probabilities beside the picture."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "episodes")
        self.factor  # noqa: B018 - refuses what is none
        check_display()

    @property
    def factor(self) -> float:
        """Times real time; inf for the highest speed."""
        with suppress(ValueError):
            if self.speed == "max" or SLOWEST <= float(self.speed) <= FASTEST:
                return math.inf if self.speed == "max" else float(self.speed)
        raise ValueError(f"speed must be from {SLOWEST:g} to {FASTEST:g}, or max, got {self.speed}")


def main(description: str) -> int:
    """Show a model's games, as `scripts/watch.py` does; returns the exit code."""
    return run_player(WatchSettings, f"{description}. Keys: {KEYS}.", watch_saved_model)


def watch_saved_model(settings: WatchSettings) -> str:
    """Show whole games of a run's model in a window, until they are over or it is closed; returns the scores as text.

    Raises:
        ValueError: there is no such run, model or device, or nothing that can be shown.
    """
    directory = open_run(settings.run_dir)
    if is_of_sb3(directory):
        from agents.commands.sb3.saved_policy import watch_saved_policy  # brings the library

        return watch_saved_policy(directory, settings)
    from agents.watching.spectator import Spectator

    model = read_model_of(directory, settings)
    with (
        closing(model.make_environment(1, render_mode="rgb_array")) as environment,
        closing(open_window(settings, model, environment.render_fps)) as window,
    ):
        spectator = Spectator(environment, window, values=settings.values, size=SIZE)
        games = play_games(model, environment, settings, settings.episodes, spectator, stopped=lambda: window.closed)
    return result(model, [game.score for game in games], settings)


def open_window(settings: WatchSettings, model: SavedModel, fps: float) -> Window:
    """The window, which opens with the first picture; `fps` is of real time. Raises as `Window`."""
    task = model.description["game"] or model.description["env"]
    return Window(task, fps, settings.factor)


def result(model: SavedModel, scores: Sequence[float], settings: WatchSettings) -> str:
    """The scores of the games that were played to their end, in words."""
    if not scores:
        return "no game was played to its end"
    return score_line(model, list(scores), settings.manner(model.description["play"]))
