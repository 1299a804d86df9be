"""Runs of stable-baselines3 and CleanRL, read from their TensorBoard logs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from agents.reports.event_files import Events
from agents.reports.run import UNKNOWN, Points, Run, as_game, as_text

RETURN = "rollout/ep_rew_mean"
EPISODES = ("charts/episodic_return", "charts/episode_reward")
"""Tags of each game's return in CleanRL's logs."""
_WINDOW = 100  # games in the mean return, as stable-baselines3 and our agents take it
_ATARI = re.compile(r"^ALE/|NoFrameskip-v\d$|Deterministic-v\d$")


def folder_pattern(text: str) -> re.Pattern[str]:
    """The pattern that `{norm}/{env}/{agent}_{seed}` stands for: names in braces, in the last parts of a path.

    Raises:
        ValueError: no name or a repeated one is in braces.
    """
    parts = re.split(r"\{(\w+)\}", text.strip("/"))
    names = parts[1::2]
    if not names or len(set(names)) < len(names) or "{" in "".join(parts[::2]):
        raise ValueError(
            f"--folders takes names in braces, each once, as in '{{norm}}/{{env}}/{{agent}}_{{seed}}': {text}"
        )
    try:
        body = "".join(f"(?P<{part}>[^/]+)" if odd else re.escape(part) for odd, part in _alternating(parts))
        return re.compile(rf"(?:^|/){body}$")
    except re.error:
        raise ValueError(f"--folders takes plain names in braces, not {text}") from None


def _alternating(parts: Sequence[str]) -> list[tuple[int, str]]:
    return [(index % 2, part) for index, part in enumerate(parts)]


def event_run(folder: Path, events: Events, pattern: re.Pattern[str] | None) -> Run:
    """The run whose events were read.

    Names come from the folders' pattern where there is one, from CleanRL's table of hyperparameters where that is, and
    from the folders as stable-baselines3 makes them: ENVIRONMENT/ALGORITHM_NUMBER.

    Args:
        folder: of the events.
        events: as `read_events` gives them.
        pattern: as `folder_pattern` gives it.

    Raises:
        ValueError: the folder does not match the pattern, or a seed is no number.
    """
    parameters = _parameters(events.texts.get("hyperparameters/text_summary", ""))
    place = Path(as_text(os.path.abspath(folder)))  # by the links' names
    named = _named(folder, place, pattern)
    env = named.pop("env", parameters.get("env_id", place.parent.name or place.name))
    seed = named.pop("seed", parameters.get("seed"))
    if seed is not None and not re.fullmatch(r"-?\d+", seed):
        raise ValueError(f"the seed of {folder} is {seed!r}, which is no whole number")
    agent = named.pop("agent", parameters.get("exp_name", re.sub(r"_\d+$", "", place.name)))
    norm = named.pop("norm", parameters.get("norm", UNKNOWN))
    settings = {**parameters, **named}
    return Run(
        str(folder),
        agent,
        _game(env),
        norm,
        None if seed is None else int(seed),
        settings,
        {},
        _with_mean_return(events.scalars),
        events.clock,
    )


def _named(folder: Path, place: Path, pattern: re.Pattern[str] | None) -> dict[str, str]:
    if pattern is None:
        return {}
    if (found := pattern.search(place.as_posix())) is None:
        raise ValueError(f"{folder} does not match --folders")
    return found.groupdict()


def _parameters(table: str) -> dict[str, str]:
    """CleanRL's hyperparameters, a Markdown table of two columns."""
    rows = [line.strip().strip("|").split("|", 1) for line in table.splitlines() if line.strip().startswith("|")]
    return {row[0].strip(): row[1].strip() for row in rows[2:] if len(row) == 2}


def _game(env: str) -> str:
    """Gymnasium's name of the game that an id of an Atari environment stands for; any other id as it is."""
    return as_game(env) if _ATARI.search(env) else env


def _with_mean_return(scalars: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, Points]:
    """The metrics, with the mean return of the last 100 games where the log has each game's return."""
    metrics = {tag: points for tag, pairs in scalars.items() if len((points := Points.of(pairs)).steps)}
    games = next((scalars[tag] for tag in EPISODES if tag in metrics), None)
    if games is not None and RETURN not in metrics:
        metrics[RETURN] = _mean_return(games)
    return metrics


def _mean_return(games: Sequence[tuple[float, float]]) -> Points:
    """The mean return of the last 100 games that ended by a step, of which any number end at one."""
    finite = [game for game in games if np.isfinite(game[1])]
    steps, returns = zip(*sorted(finite, key=lambda game: game[0]), strict=True)
    sums = np.cumsum([0.0, *returns])
    ends = np.arange(1, len(sums))
    starts = np.maximum(ends - _WINDOW, 0)
    return Points.of(zip(steps, (sums[ends] - sums[starts]) / (ends - starts), strict=True))
