"""The evaluation command: play whole games with a run's model and report the scores."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from agents.commands.parser import fail, read
from agents.runtime.output_text import make_output_safe
from agents.runtime.signals import leaving_at_once
from agents.settings.checks import check_at_least, check_seed, check_shares, check_used
from agents.settings.presets.protocols import conditions
from agents.training.run_directory import NAMES, RunDirectory, run_of_part

if TYPE_CHECKING:  # torch comes with it, and is imported once the command line is right
    from agents.training.saved_model import SavedModel


@dataclass(frozen=True)
class EvaluateSettings:
    """The evaluated model, and how it plays."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    episodes: int = 30
    """Whole games to play."""
    epsilon: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """Exploration rate ε; by default the run's own in evaluation."""
    model: Literal["last", "best"] = "last"
    """The last model, or that of the best evaluation in training, a choice that flatters; RUN_DIR/best.safetensors
    instead of RUN_DIR means it too."""
    num_envs: int = 8
    """Games played in parallel."""
    seed: int = 0
    """Random seed of the games, which are none of those of the training, and of the exploration."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto (CUDA where available)."""
    trust: bool = False
    """Import the module that the run's environment names (my_module:Maze-v0), and read models of any size."""
    video: bool = False
    """Write the first game to RUN_DIR/videos as MP4."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the video, instead of RUN_DIR/videos. Without --video nothing is written."""

    def __post_init__(self) -> None:
        check_used(self, self.video, "video", "out")
        check_seed(self)
        check_at_least(self, 1, "episodes", "num_envs")
        if self.epsilon is not None:
            check_shares(self, "epsilon")


def main(description: str) -> int:
    """Evaluate a model, as `scripts/evaluate.py` does; returns the exit code."""
    make_output_safe()
    try:
        settings = located(read(EvaluateSettings, description))
        _open(settings.run_dir)  # what is wrong with it is said before torch is imported
        with leaving_at_once():
            import agents.training.saved_model  # noqa: F401
    except ValueError as error:
        fail(error)
    except KeyboardInterrupt:
        return 130
    from envs.faults import EnvironmentFault

    try:
        print(play_saved_model(settings))
        return 0
    except EnvironmentFault as fault:
        fail(fault, code=1)
    except (ValueError, ModuleNotFoundError) as error:
        fail(error)
    except KeyboardInterrupt:
        return 130


def located(settings: EvaluateSettings) -> EvaluateSettings:
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


def play_saved_model(settings: EvaluateSettings) -> str:
    """Play whole games with a run's model and return the result as text.

    Raises:
        ValueError: there is no such run, model or device, or video needs what is not installed.
    """
    from agents.acting.policies import make_policy
    from agents.runtime.devices import resolve_device
    from agents.runtime.seeds import Purpose, generator, integer
    from agents.training.evaluation import evaluate
    from agents.training.saved_model import read_saved_model
    from agents.training.video import Video, draw_off_screen

    if settings.video:
        draw_off_screen()
    directory = _open(settings.run_dir)
    if directory.config.get("library") == "stable-baselines3":
        from agents.commands.sb3.saved_policy import play_saved_policy  # brings the library

        return play_saved_policy(directory, settings)
    model = read_saved_model(directory.path, settings.model, resolve_device(settings.device), trust=settings.trust)
    play = model.description["play"] | ({} if settings.epsilon is None else {"epsilon": settings.epsilon})
    render = {"render_mode": "rgb_array"} if settings.video else {}
    environment = model.make_environment(min(settings.num_envs, settings.episodes), **render)
    policy = make_policy(model.network, generator(settings.seed, Purpose.GAMES_POLICY), **play)
    path = video_path(directory, settings, model.name, model.description["step"])
    with closing(environment):
        video = Video(environment, path) if settings.video else None
        watching: dict[str, Any] = {"watch": video.watch} if video else {}
        seed = integer(settings.seed, Purpose.GAMES)
        games = evaluate(
            policy,
            environment,
            episodes=settings.episodes,
            seed=seed,
            message=partial(print, file=sys.stderr),
            **watching,
        )
    if not games:
        raise ValueError("no game ended, so there is no score")
    line = score_line(model, [game.score for game in games], play)
    return f"{line}\nvideo of the first game: {video.close()}" if video else line


def video_path(directory: RunDirectory, settings: EvaluateSettings, name: str, step: int) -> Path:
    """Where the video of a model, by the name of its file and its step, is written."""
    return (settings.out or directory.path / "videos") / f"{name}-step-{step}.mp4"


def _open(path: Path) -> RunDirectory:
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


def score_line(model: SavedModel, scores: list[float], play: dict[str, Any]) -> str:
    """Mean ± standard deviation of the scores, what they are of, and the human-normalized score where there is one.

    Args:
        model: that played.
        scores: of whole games.
        play: how it played, see `agents.acting.policies.make_policy`.
    """
    task = model.description["game"] or model.description["env"]
    line = f"{task}: {fmean(scores):.1f} ± {pstdev(scores):.1f} over {len(scores)} whole games"
    manner = ["actions sampled"] if play.get("sample") else []
    if play.get("epsilon") or not manner:
        manner.append(f"epsilon {play.get('epsilon', 0):g}")
    manner.append(f"{model.name}.safetensors of step {model.description['step']:,}")
    if model.name == "best":
        manner.append(f"the best of {model.evaluations or 'all'} evaluations in training, a choice that flatters")
    terms = conditions(model.description, play)
    line += f" ({', '.join(manner)}{f'; {terms}' if terms else ''})"
    if model.description["game"]:
        from envs import human_normalized, rom_id  # brings the emulator

        normalized = human_normalized(rom_id(task), fmean(scores))
        if normalized is not None:
            line += f", human-normalized {normalized:.2f} (random play 0, human 1)"
    return line
