"""The evaluation command: play whole games with a run's model and report the scores."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from agents.commands.played_model import PlaySettings, is_of_sb3, open_run, play_games, read_model_of, run_player
from agents.settings.checks import check_above_zero, check_at_least, check_used
from agents.settings.presets.protocols import conditions
from agents.training.run_directory import RunDirectory

if TYPE_CHECKING:  # torch comes with it, and is imported once the command line is right
    from agents.training.saved_model import SavedModel
    from agents.watching.video import Video

IN_THE_RUN = Path("auto")
"""The video's file where it has no name of its own."""
_FILE = tyro.conf.arg(metavar="[FILE]")
_FPS = tyro.conf.arg(metavar="FPS")
_SECONDS = tyro.conf.arg(metavar="SECONDS")


@dataclass(frozen=True)
class EvaluateSettings(PlaySettings):
    """The evaluated model, and how it plays."""

    episodes: int = 30
    """Whole games to play."""
    num_envs: int = 8
    """Games played in parallel."""
    video: Annotated[Path | None, _FILE] = None
    """Write the first game to this file, .mp4 or .gif; without a name to RUN_DIR/videos as MP4."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of a video without a name, instead of RUN_DIR/videos. Without --video nothing is written."""
    video_fps: Annotated[float | None, _FPS] = None
    """Pictures a second of the video at most; others are left out, the game stays as fast.
    By default all, of a GIF 15; it has at most 50."""
    video_seconds: Annotated[float | None, _SECONDS] = None
    """Length of the video at most. By default the whole game, of a GIF 30 seconds."""
    values: bool = False
    """Draw Q values or action probabilities beside the picture of the video."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_used(self, self.video is not None, "video", "out", "video_fps", "video_seconds", "values")
        check_used(self, self.video == IN_THE_RUN, "a video without a name", "out")
        check_at_least(self, 1, "episodes", "num_envs")
        check_above_zero(self, *(name for name in ("video_fps", "video_seconds") if getattr(self, name) is not None))


def main(description: str) -> int:
    """Evaluate a model, as `scripts/evaluate.py` does; returns the exit code."""
    return run_player(EvaluateSettings, description, play_saved_model, with_video(sys.argv[1:]))


def with_video(argv: Sequence[str]) -> list[str]:
    """The arguments, with the file of a bare `--video` written out; a file has a suffix, and is none of a run."""
    written: list[str] = []
    for text, following in itertools.pairwise([*argv, "--"]):
        file, written = Path(following), [*written, text]
        named = file.suffix and (file.suffix.lower() in (".mp4", ".gif") or not file.exists())
        if text == "--video" and following != str(IN_THE_RUN) and (following.startswith("--") or not named):
            written.append(str(IN_THE_RUN))
    return written


def play_saved_model(settings: EvaluateSettings) -> str:
    """Play whole games with a run's model and return the result as text.

    Raises:
        ValueError: there is no such run, model or device, or video needs what is not installed or cannot be written; in
            the last case the result is printed.
    """
    from agents.watching.spectator import Spectator
    from agents.watching.video import draw_off_screen, size_for

    if settings.video is not None:
        draw_off_screen()
    directory = open_run(settings.run_dir)
    if is_of_sb3(directory):
        from agents.commands.sb3.saved_policy import play_saved_policy  # brings the library

        return play_saved_policy(directory, settings)
    model = read_model_of(directory, settings)
    render = {} if settings.video is None else {"render_mode": "rgb_array"}
    environment = model.make_environment(min(settings.num_envs, settings.episodes), **render)
    path = video_path(directory, settings, model.name, model.description["step"])
    with closing(environment), open_video(settings, path, environment.render_fps) as video:
        spectator = None
        if video is not None:
            size = size_for(path, settings.values)
            spectator = Spectator(environment, video, values=settings.values, size=size, games=1)
        games = play_games(model, environment, settings, settings.episodes, spectator)
        if not games:
            raise ValueError("no game ended, so there is no score")
        line = score_line(model, [game.score for game in games], settings.manner(model.description["play"]))
        return with_end_of(video, line)


def video_path(directory: RunDirectory, settings: EvaluateSettings, name: str, step: int) -> Path:
    """Where the video of a model, by the name of its file and its step, is written."""
    if settings.video not in (None, IN_THE_RUN):
        assert settings.video is not None
        return settings.video
    return (settings.out or directory.path / "videos") / f"{name}-step-{step}.mp4"


@contextmanager
def open_video(settings: EvaluateSettings, path: Path, rate: float) -> Iterator[Video | None]:
    """The video that the settings ask for, if any; what is not closed at the end of the context is removed.

    Ctrl-C keeps what there is of it.

    Args:
        settings: of the command.
        path: of the video.
        rate: pictures a second of the game.

    Raises:
        ValueError: as `Video`.
    """
    from agents.watching.video import Video

    if settings.video is None:
        yield None
        return
    video = Video(path, rate, fps=settings.video_fps, seconds=settings.video_seconds)
    try:
        yield video
    except KeyboardInterrupt:
        with suppress(ValueError):
            video.close()
        raise
    finally:
        video.discard()


def with_end_of(video: Video | None, line: str) -> str:
    """The line of scores, and where there is a video, which is closed, what it shows.

    Raises:
        ValueError: it cannot be written; the line is printed before.
    """
    if video is None:
        return line
    try:
        video.close()
    except ValueError:
        print(line, flush=True)
        raise
    return f"{line}\n{video.describe()}"


def score_line(model: SavedModel, scores: list[float], play: dict[str, Any]) -> str:
    """Mean ± standard deviation of the scores, what they are of, and the human-normalized score where there is one.

    Args:
        model: that played.
        scores: of whole games.
        play: how it played, see `agents.acting.policies.make_policy`.
    """
    task = model.description["game"] or model.description["env"]
    games = "1 whole game" if len(scores) == 1 else f"{len(scores)} whole games"
    line = f"{task}: {fmean(scores):.1f} ± {pstdev(scores):.1f} over {games}"
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
