"""What the commands share that play whole games with a run's model: its flags, its loading, and the games."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

from agents.commands.parser import fail, read
from agents.runtime.output_text import make_output_safe
from agents.runtime.signals import leaving_at_once
from agents.settings.checks import check_seed, check_shares
from agents.training.run_directory import NAMES, RunDirectory, run_of_part

if TYPE_CHECKING:  # torch comes with them, and is imported once the command line is right
    from agents.training.saved_model import SavedModel
    from agents.watching.spectator import Spectator
    from envs import Environment, Episode


@dataclass(frozen=True)
class PlaySettings:
    """The model that plays, and how."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    epsilon: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """Exploration rate ε; by default the run's own in evaluation."""
    greedy: Annotated[bool | None, tyro.conf.arg(metavar="| --no-greedy")] = None
    """The actions of highest value or probability alone; --no-greedy samples those of a policy.
    By default as the run was evaluated."""
    model: Literal["last", "best"] = "last"
    """The last model, or that of the best evaluation in training, a choice that flatters.
    RUN_DIR/best.safetensors instead of RUN_DIR means the latter too."""
    seed: int = 0
    """Random seed of the games, which are none of those of the training, and of the exploration."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto (CUDA where available)."""
    trust: bool = False
    """Import the module that the run's environment names (my_module:Maze-v0), and read models of any size."""

    def __post_init__(self) -> None:
        check_seed(self)
        if self.epsilon is not None:
            check_shares(self, "epsilon")
        if self.greedy and self.epsilon:
            raise ValueError(f"greedy has no random actions, got epsilon {self.epsilon}: leave one of them out")

    def manner(self, own: dict[str, Any]) -> dict[str, Any]:
        """How the model plays: options of `agents.acting.policies.make_policy`.

        Args:
            own: those of the run's evaluations.

        Raises:
            ValueError: actions are to be sampled of an agent that has no policy.
        """
        if self.greedy is False and "sample" not in own:
            raise ValueError("no-greedy samples the actions of a policy, which this agent does not: give --epsilon")
        sampled = {} if self.greedy is None or "sample" not in own else {"sample": not self.greedy}
        epsilon = 0.0 if self.greedy and "epsilon" in own else self.epsilon
        return own | sampled | ({} if epsilon is None else {"epsilon": epsilon})


Settings = TypeVar("Settings", bound=PlaySettings)


def run_player(
    kind: type[Settings], description: str, play: Callable[[Settings], str], argv: list[str] | None = None
) -> int:
    """The whole command: parse, play, print what `play` returns, or an error in one line; returns the exit code.

    Args:
        kind: its settings.
        description: one line above its help.
        play: plays the games and returns a text.
        argv: the arguments; the process's own by default.
    """
    make_output_safe()
    try:
        settings = located(read(kind, description, argv))
        open_run(settings.run_dir)  # what is wrong with it is said before torch is imported
        with leaving_at_once():
            import agents.training.saved_model  # noqa: F401
    except ValueError as error:
        fail(error)
    except KeyboardInterrupt:
        return 130
    from envs.faults import EnvironmentFault

    try:
        print(play(settings))
        return 0
    except EnvironmentFault as fault:
        fail(fault, code=1)
    except (ValueError, ModuleNotFoundError) as error:
        fail(error)
    except KeyboardInterrupt:
        return 130


def located(settings: Settings) -> Settings:
    """The settings, with the run and the model that the path of a model's file means.

    Raises:
        ValueError: it is of another model than the settings say, or something else within a run.
    """
    path = settings.run_dir
    if (folder := run_of_part(path)) is None:
        return settings
    models: dict[str, Any] = {name: kind for kind, name in NAMES.items()}
    model = models.get(path.stem)
    if model is None or path.parent != folder:
        raise ValueError(f"{path} is in the folder of a run: give {folder}")
    if settings.model not in ("last", model):
        raise ValueError(f"{path} is the model of --model {model}, got --model {settings.model}: leave that out")
    return replace(settings, run_dir=folder, model=model)


def open_run(path: Path) -> RunDirectory:
    """The run in that folder; raises ValueError where there is none, or a model of stable-baselines3 alone."""
    if not os.path.isfile(path / "config.json"):  # False for a name that is too long
        zips = sorted(path.glob("*.zip")) if os.path.isdir(path) else [path] * (path.suffix == ".zip")
        if zips:
            raise ValueError(
                f"{zips[0]} is a model of stable-baselines3 and no run: to load it is to unpickle it, which runs its "
                "author's code, and it names no environment to play in. If you trust it, load it in Python (PPO.load) "
                "and play it with stable_baselines3.common.evaluation.evaluate_policy"
            )
    return RunDirectory.open(path)


def is_of_sb3(directory: RunDirectory) -> bool:
    """Whether a run was made with stable-baselines3."""
    return directory.config.get("library") == "stable-baselines3"


def read_model_of(directory: RunDirectory, settings: PlaySettings) -> SavedModel:
    """The model of a run; raises as `agents.training.saved_model.read_saved_model`."""
    from agents.runtime.devices import resolve_device
    from agents.training.saved_model import read_saved_model

    return read_saved_model(directory.path, settings.model, resolve_device(settings.device), trust=settings.trust)


def play_games(
    model: SavedModel,
    environment: Environment,
    settings: PlaySettings,
    episodes: int,
    spectator: Spectator | None = None,
    **options: Any,
) -> list[Episode]:
    """Play whole games with a model.

    Args:
        model: that plays.
        environment: to play in.
        settings: how it plays.
        episodes: how many games.
        spectator: looks on.
        options: further ones of `agents.training.evaluation.evaluate`.
    """
    from agents.acting.policies import make_policy
    from agents.runtime.seeds import Purpose, generator, integer
    from agents.training.evaluation import evaluate

    draws, seed = generator(settings.seed, Purpose.GAMES_POLICY), integer(settings.seed, Purpose.GAMES)
    play = settings.manner(model.description["play"])
    seen: dict[str, Any] = {} if spectator is None else {"seen": spectator.see}
    policy = make_policy(model.network, draws, **play, **seen)
    if spectator is not None:
        policy, options = spectator.watching(policy), {"watch": spectator.watch, **options}
    message = partial(print, file=sys.stderr)
    return evaluate(policy, environment, episodes=episodes, seed=seed, message=message, **options)
