"""The runs under folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from agents.reports.event_files import PATTERN, read_events
from agents.reports.event_runs import event_run
from agents.reports.run import Run
from agents.reports.wnrl_runs import is_run, read_wnrl_run
from agents.training.run_directory import read_config

_NO_RUNS = re.compile(r"checkpoints|videos|wandb|unfinished(-\d+)?")


class Found(NamedTuple):
    """Runs and what to know of them."""

    runs: list[Run]
    notes: list[str]
    """A line each."""


def find_runs(folders: Sequence[Path], pattern: re.Pattern[str] | None = None) -> Found:
    """The runs in these folders and in those under them, links to folders followed.

    A folder with `config.json` and `progress.csv` of this library is a run, and so is any other with event files.

    Args:
        folders: to search.
        pattern: of folders with event files alone, see `event_runs.folder_pattern`.

    Raises:
        ValueError: there is no such folder, or no run in it.
    """
    notes: list[str] = []
    runs: list[Run] = []
    for root in folders:
        if not os.path.isdir(root):  # False for a name that is too long
            raise ValueError(f"there is no folder {root}: name one that holds runs")
        before = len(runs)
        for folder, files in _folders(root, notes):
            if (run := _run(folder, files, pattern, notes)) is not None:
                runs.append(run)
        if len(runs) == before:
            raise ValueError(_nothing(root, notes))
    return Found(_once(runs), notes)


def _folders(root: Path, notes: list[str]) -> Iterator[tuple[Path, list[str]]]:
    """The folders under one, with the names of their files: linked ones last, each real folder once.

    A link to a folder that this one is in is not followed, and one that cannot be read is noted.
    """

    def note(error: OSError) -> None:
        notes.append(f"{error.filename} is left out: {error.strerror}")

    seen = set(root.resolve().parents)
    waiting = [root]
    for top in waiting:  # which grows by the links
        for path, names, files in os.walk(top, onerror=note):
            folder = Path(path)
            if (real := folder.resolve()) in seen:
                names.clear()
                continue
            seen.add(real)
            names[:] = sorted(name for name in names if not _NO_RUNS.fullmatch(name))
            waiting += [folder / name for name in names if (folder / name).is_symlink()]
            yield folder, files


def _run(folder: Path, files: list[str], pattern: re.Pattern[str] | None, notes: list[str]) -> Run | None:
    """The run in a folder; None where there is none, or one that cannot be read, which is noted."""
    logs = [folder / name for name in sorted(files) if name.startswith(PATTERN.rstrip("*"))]
    try:
        if "config.json" in files and _is_ours(folder, files, logs):
            if "progress.csv" in files:
                return read_wnrl_run(folder, notes)
            notes.append(f"{folder} is left out: it has no progress.csv")
            return None
        if not logs:
            return None
        events = read_events(logs, notes)
        if not events.scalars:
            notes.append(f"{folder} is left out: its event files have no scalars that can be read")
            return None
    except (ValueError, OSError) as error:
        notes.append(f"{folder} is left out: {error}")
        return None
    return event_run(folder, events, pattern)


def _is_ours(folder: Path, files: list[str], logs: list[Path]) -> bool:
    """Whether `config.json` is that of a run of this library.

    One that is not readable as such is not, where there are event files and no `progress.csv`.

    Raises:
        ValueError: it is not readable, and may be damaged.
    """
    try:
        return is_run(read_config(folder / "config.json"))
    except ValueError:
        if logs and "progress.csv" not in files:
            return False
        raise


def _once(runs: list[Run]) -> list[Run]:
    """Each run once, where one folder is in another that was searched too."""
    first: dict[Path, Run] = {}
    for run in runs:
        first.setdefault(Path(run.name).resolve(), run)
    return list(first.values())


def _nothing(root: Path, notes: list[str]) -> str:
    with suppress(OSError):  # which the notes have
        if not any(root.iterdir()):
            return f"{root} is empty: name a folder that holds runs"
    why = f" ({notes[-1]})" if notes else ", which are folders with config.json and progress.csv or with event files"
    return f"{root} holds no run that can be read{why}"
