"""The folder of a run: its configuration and its starts, metrics, checkpoints, models and videos."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from agents.settings.earlier import FORMAT
from agents.training.provenance import provenance
from agents.training.run_lock import GUARD, NAME, RunLock
from wnrl.checkpoints.files import open_file, read_json, replace_file, saved_steps, sweep

PARTS = (
    *("config.json", "progress.csv", "evaluations.csv", "events.out.tfevents.*", "wandb", "wandb_run"),
    *("checkpoints", "model.*", "best.*", "videos"),
)
"""What a run writes into its folder."""
_PLAYED = re.compile(rb'"/evaluation/played/')
_LONGEST_HEADER = 100_000_000
"""Bytes; safetensors' own limit."""
_OF_A_START = ("command", "versions", "git_commit", "started")
"""What earlier versions noted at the first start alone, next to the settings."""
_PLACES = ("run_dir", "resume")
"""Settings whose change is no change of the run."""


class RunDirectory:
    """A run's folder, made by `create` or opened by `open`.

    `config.json` has the agent, its settings as they are now, and under `starts` each start and resume: the first step,
    the settings that it changed, the device, the command, the versions, the commit and the time, and where learning
    broke down, `broke_down`, the step.

    Attributes:
        path: of the folder.
        checkpoints: folder of the checkpoints of the first process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self._lock: RunLock | None = None

    @classmethod
    def create(
        cls,
        path: Path,
        config: Mapping[str, Any],
        *,
        device: str | None = None,
        resumable: bool = True,
        again: bool = False,
        hold: bool = False,
    ) -> RunDirectory:
        """Make the folder and write `config.json`: the configuration and the first start.

        Of several processes that do so at once for one folder, one does.

        Args:
            path: of the folder.
            config: JSON-able; usually the agent's name and every setting.
            device: that learns, in words.
            resumable: whether the run leaves checkpoints.
            again: whether the folder may be in use: what an unfinished run without a checkpoint has left there is moved
                to a folder `unfinished` in it, other files stay.
            hold: whether no other process may write there, until `release`.

        Raises:
            ValueError: the folder holds a run already, another process writes there, or nothing can be written.
        """
        directory = cls(path)
        try:
            if not again:
                _check_unused(path, resumable)
            path.mkdir(parents=True, exist_ok=True)
            directory.hold()
            if again:
                _set_aside(path)
            else:
                _check_unused(path, resumable)  # another process may have been faster
            written = {"format": FORMAT, **config, "starts": [_start(0, device)]}
            _write_new(path / "config.json", json.dumps(written, indent=2) + "\n")
            if resumable:
                (path / "checkpoints").mkdir()
        except OSError as error:
            directory.release()
            raise ValueError(f"cannot write the run to {path}: {error.strerror}") from error
        except BaseException:
            directory.release()
            raise
        if not hold:
            directory.release()
        return directory

    @classmethod
    def open(cls, path: Path, *, write: bool = False) -> RunDirectory:
        """Open the folder of an existing run, to read it, or to write to it too.

        Raises:
            ValueError: the folder holds no run, or cannot be written to.
        """
        directory = cls(path)
        if not os.path.isfile(path / "config.json"):  # False for a name that is too long
            raise ValueError(f"{path} is not the folder of a run: it has no config.json{_near(path)}")
        if write and not os.access(path, os.W_OK):
            raise ValueError(f"cannot write the run to {path}: no permission")
        return directory

    def hold(self) -> None:
        """Let no one else write there until `release`, and remove what killed processes have left unfinished.

        Raises:
            ValueError: another process writes there, or nothing can be written.
        """
        if self._lock is None:
            self._lock = RunLock(self.path)
            sweep(self.path)

    def release(self) -> None:
        """Let others write there."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def discard(self) -> None:
        """Remove what a run has written there, and the folder where it holds nothing else."""
        for part in _parts(self.path):
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)
        with suppress(OSError):  # other files
            self.path.rmdir()

    @property
    def config(self) -> dict[str, Any]:
        """The contents of `config.json`.

        Raises:
            ValueError: it is not readable.
        """
        return read_config(self.path / "config.json")

    @property
    def last_step(self) -> int | None:
        """The step of the newest checkpoint; None where there is none."""
        return max(saved_steps(self.checkpoints), default=None)

    @property
    def owes_evaluation(self) -> bool:
        """Whether a stop broke off an evaluation that the newest checkpoint has and a resumed run plays."""
        return self.newest_has(_PLAYED)

    def newest_has(self, name: re.Pattern[bytes]) -> bool:
        """Whether the newest checkpoint has a tensor of such a name, as its header says; False where there is none."""
        files = list(saved_steps(self.checkpoints).values())
        if not files:
            return False
        with open_file(files[-1]) as file:
            length = int.from_bytes(file.read(8), "little")
            return name.search(file.read(min(length, _LONGEST_HEADER))) is not None

    def go_on(self, first_step: int, settings: Mapping[str, Any], device: str | None = None) -> None:
        """Write into `config.json` that the run goes on, with these settings from now on.

        Args:
            first_step: the step from which it goes on.
            settings: all of them, as JSON has them.
            device: that learns, in words.

        Raises:
            ValueError: it is not readable.
            CheckpointError: it cannot be written, and is as it was.
        """
        config = self.config
        before, starts = config["settings"], _starts(config)
        changed = {
            name: {"from": before[name], "to": value}
            for name, value in settings.items()
            if name in before and value != before[name] and name not in _PLACES
        }
        kept = {name: value for name, value in config.items() if name not in _OF_A_START}
        now = {"settings": {**settings}, "starts": [*starts, _start(first_step, device, changed)]}
        self._replace({"format": FORMAT} | kept | now | {"format": FORMAT})

    def note_breakdown(self, step: int | None) -> None:
        """Write into `config.json` that learning broke down at this step of the last start; None: that it did not.

        Of several steps the first one stays.

        Raises:
            ValueError: it is not readable.
            CheckpointError: it cannot be written, and is as it was.
        """
        config = self.config
        noted = broke_down(config)
        if (noted is None) != (step is None):
            *before, last = _starts(config)
            self._replace({**config, "starts": [*before, {**last, "broke_down": step}]})

    def change_settings(self, **settings: Any) -> None:
        """Write these settings into `config.json`, as a run that goes on has them.

        Raises:
            ValueError: it is not readable.
            CheckpointError: it cannot be written, and is as it was.
        """
        config = self.config
        config["settings"].update(settings)
        self._replace(config)

    def _replace(self, config: Mapping[str, Any]) -> None:
        text = json.dumps(config, indent=2) + "\n"
        replace_file(self.path / "config.json", lambda path: path.write_text(text, encoding="utf-8"))

    def checkpoints_of(self, rank: int) -> Path:
        """The folder of a process's checkpoints; for the first process, `checkpoints` itself."""
        return self.checkpoints / f"process-{rank}" if rank else self.checkpoints


def read_config(path: Path) -> dict[str, Any]:
    """The contents of a `config.json`.

    Raises:
        ValueError: it is not readable.
    """
    config = read_json(path)
    if not isinstance(config, dict):
        raise ValueError(f"{path} is damaged: it holds no object")
    _check_kinds(path, config, _KINDS)
    for start in config.get("starts") or []:
        if not isinstance(start, dict):
            raise ValueError(f"{path} is damaged: a start is no object")
        _check_kinds(path, start, _KINDS)
        if not 0 <= (start.get("broke_down") or 0) <= MOST_STEPS:
            raise ValueError(f"{path} is damaged: broke_down is {str(start['broke_down'])[:100]}")
    return config


MOST_STEPS = 10**15
"""No run has more."""


_KINDS: dict[str, tuple[type, ...]] = {
    "agent": (str,),
    "library": (str,),
    "format": (int,),
    "settings": (dict,),
    "starts": (list,),
    "versions": (dict, type(None)),
    "git_commit": (str, type(None)),
    "broke_down": (int, type(None)),
}
"""Types of the entries that are read."""


def _check_kinds(path: Path, entries: Mapping[str, Any], kinds: Mapping[str, tuple[type, ...]]) -> None:
    for name in kinds.keys() & entries.keys():
        if type(entries[name]) not in kinds[name]:
            raise ValueError(f"{path} is damaged: {name} is {str(entries[name])[:100]!r}")


def made_by(config: Mapping[str, Any]) -> str:
    """The version and commit of the last start in a configuration, in words."""
    start = _starts(config)[-1]
    version, commit = (start.get("versions") or {}).get("wnrl", "of unknown version"), start.get("git_commit")
    return f"wnrl {version}, git commit {commit}" if commit else f"wnrl {version}"


def broke_down(config: Mapping[str, Any]) -> int | None:
    """The step at which learning broke down in the last start, see `RunDirectory`; None where it has not."""
    return _starts(config)[-1].get("broke_down")


def in_use(path: Path) -> bool:
    """Whether a run cannot be written there: it is a file, or a folder that holds some."""
    if not path.is_dir():
        return path.exists()
    return any(one.name not in (NAME, GUARD) for one in path.iterdir())


NAMES = {"last": "model", "best": "best"}
"""Names of the files of a run's models."""


def run_of_part(path: Path) -> Path | None:
    """The folder of the run in whose folder, or in a folder of that, a path lies; None where it is one, or in none."""
    if os.path.isfile(path / "config.json"):  # False for a name that is too long
        return None
    return next((folder for folder in path.parents[:2] if os.path.isfile(folder / "config.json")), None)


def default_folder(task: str, agent: str, norm: str, seed: int) -> Path:
    """Make `runs/TASK-AGENT-NORM-sSEED-TIME`, with a number appended where that exists, and return its path.

    Raises:
        ValueError: it cannot be made.
    """
    end = f"-{agent}-{norm}-s{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    stem = f"{re.sub(r'[^A-Za-z0-9_.+-]', '_', task)[:_LONGEST]}{end}"
    path, number = Path("runs") / stem, 1
    while True:
        try:
            path.parent.mkdir(exist_ok=True)
            path.mkdir()
        except FileExistsError:
            number += 1
            path = path.with_name(f"{stem}-{number}")
        except OSError as error:
            raise ValueError(f"cannot write the run to {path}: {error.strerror}") from error
        else:
            return path


_LONGEST = 100
"""Characters of a task in a folder's name, which most file systems limit to 255 bytes."""


def _start(first_step: int, device: str | None, changed: Mapping[str, Any] = {}) -> dict[str, Any]:
    """An entry of `starts`."""
    return {"first_step": first_step, "changed": {**changed}, "device": device, "command": sys.argv, **provenance()}


def _starts(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The starts in a configuration; of an earlier version's, the first."""
    noted = {name: config.get(name) for name in _OF_A_START}
    return config.get("starts") or [{"first_step": 0, "changed": {}, "device": None, **noted}]


def _write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet; where that fails, as on a full disk, none is left."""
    file = open(path, "x", encoding="utf-8")  # noqa: SIM115 - it is closed below
    try:
        with file:
            file.write(text)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _check_unused(path: Path, resumable: bool) -> None:
    if in_use(path):
        advice = f", or continue a run with --resume {path}" if resumable else ""
        raise ValueError(f"{path} already holds files: choose another --run-dir{advice}")


def _parts(folder: Path) -> list[Path]:
    """What a run has written into a folder."""
    return [part for pattern in PARTS for part in folder.glob(pattern)]


def _set_aside(path: Path) -> None:
    """Move what a run without a checkpoint has left in a folder to `unfinished` in it.

    Raises:
        ValueError: there is a model of a finished run, or a checkpoint.
    """
    parts = _parts(path)
    if finished := next((part for part in (path / "model.json", path / "model.zip") if _is_finished(part)), None):
        raise ValueError(f"{path} holds {finished.name} of a run without a checkpoint: choose another --run-dir")
    if RunDirectory(path).last_step is not None:
        raise ValueError(f"{path} already holds a run with a checkpoint: continue it with --resume {path}")
    if not parts:
        return
    folder, number = path / "unfinished", 1
    while folder.exists():
        number += 1
        folder = path / f"unfinished-{number}"
    folder.mkdir()
    for part in parts:
        part.rename(folder / part.name)


def _is_finished(model: Path) -> bool:
    """Whether a model is there, unless it is of before the end of its run, whose first checkpoint was cut short."""
    if not model.exists():
        return False
    try:
        return bool(read_json(model)["step"] >= read_config(model.parent / "config.json")["settings"]["steps"])
    except (ValueError, KeyError, TypeError):  # it cannot be known
        return True


def _near(path: Path) -> str:
    """What may be meant instead of a folder that is no run."""
    if os.path.isdir(path) and (runs := sorted(found.parent for found in path.glob("*/config.json"))):
        return f", but {len(runs)} folders in it have: name one, {runs[-1]} for example"
    return ""
