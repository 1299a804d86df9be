"""Files that are replaced whole or not at all, and read only where they are files of a size to be expected."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

LONGEST_TEXT = 4 * 2**20
"""Bytes of a JSON file that is read; a run's configuration has some thousand."""
_UNFINISHED = re.compile(r"\.tmp\w{6}|\..+\.(json|safetensors|csv)(\.[0-9a-f]{8})?\.tmp|progress\.tmp")
"""Names of temporary files: those of safetensors, of `replacing`, and of earlier versions."""
_CHECKPOINT = re.compile(r"[0-9]{1,18}\.safetensors")
_WAITS = (0.05, 0.1, 0.2, 0.5) if os.name == "nt" else ()
"""Seconds between attempts to replace a file; on Windows none is replaced while a program reads it."""


class CheckpointError(ValueError):
    """A file cannot be written, or is missing, damaged or of another kind; the message is one line."""


class UnreadableError(CheckpointError):
    """A file that may be whole, so that it is kept: of a later format, or one that cannot be read at present."""


def open_file(path: str | Path) -> BinaryIO:
    """A file, opened to be read. What is no file, such as a folder or a pipe, which would never end, is refused.

    Raises:
        CheckpointError: there is no such file.
        UnreadableError: it is there and cannot be opened.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise CheckpointError(f"there is no file {path}: check the path") from error
    except OSError as error:
        if os.path.isdir(path):
            raise CheckpointError(f"{path} is no file: choose another") from error
        raise UnreadableError(f"cannot read {path}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise CheckpointError(f"{path} is no file: choose another")
    return os.fdopen(handle, "rb")


def read_json(path: str | Path, most: int = LONGEST_TEXT) -> Any:
    """The value in a JSON file.

    Args:
        path: of the file.
        most: the size that is read, in bytes.

    Raises:
        CheckpointError: as `open_file`, or it is larger or damaged.
        UnreadableError: as `open_file`.
    """
    with open_file(path) as file:
        try:
            data = file.read(most + 1)
        except OSError as error:
            raise UnreadableError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > most:
        raise CheckpointError(f"{path} has more than {most:,} bytes, so that it is none of ours: choose another")
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make a file next to `path`, and rename it to `path` once it is on the disk.

    Args:
        path: of the file, which may exist. Its folder is created.
        write: makes the file whose path it is given.

    Raises:
        CheckpointError: it cannot be written; what was at `path` is untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            write(temporary)
    except OSError as error:
        raise CheckpointError(f"cannot write {path} ({error}): what was there before is untouched") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A context with the path of an empty file next to `path`, which takes its place at the end if there is no error.

    Nothing that lies in the folder is written to: the file is a new one, and no link is followed.

    Raises:
        OSError: it cannot be written; what was at `path` is untouched.
    """
    temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.tmp")
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        mode = os.fstat(handle).st_mode  # by the umask; safetensors makes files that only the user can read
        os.close(handle)
        yield temporary
        temporary.chmod(stat.S_IMODE(mode))
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        _rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def saved_steps(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder by their steps, in ascending order; anything else in there is none.

    Raises:
        UnreadableError: the folder is there and cannot be read.
    """
    try:
        names = [name for name in os.listdir(folder) if _CHECKPOINT.fullmatch(name)]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return {}
        raise UnreadableError(f"cannot read {folder}: {error.strerror}") from error
    found = {int(name.partition(".")[0]): folder / name for name in names if os.path.isfile(folder / name)}
    return dict(sorted(found.items()))


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed writers have left in a folder. Nobody else may be writing there."""
    with suppress(OSError):
        for path in folder.iterdir():
            if _UNFINISHED.fullmatch(path.name):
                remove(path)


def remove(path: Path) -> bool:
    """Remove a file; whether it is gone, which on Windows it is not while a program has it open."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _rename(temporary: Path, path: Path) -> None:
    for wait in _WAITS:
        try:
            os.replace(temporary, path)
        except PermissionError:
            time.sleep(wait)
        else:
            return
    os.replace(temporary, path)


def _sync_folder(folder: Path) -> None:
    """Make a renaming survive a power failure, where folders can be opened and synchronized."""
    if os.name == "posix":
        with suppress(OSError):  # the file has its name already
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
