"""The lock of a run's folder: one process at a time writes there."""

from __future__ import annotations

import errno
import os
import shlex
import socket
import stat
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
"""Of the file in the folder, which is there while it is locked; in it, who holds it."""
GUARD = ".lock.guard"
"""The file that is locked where there is no flock: on Windows one that is locked cannot be read."""
_WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_LONGEST = 300
_HANDLES: set[int] = set()


class RunLock:
    """Holds a folder until `release`, or until the process ends, however that is.

    The system releases it with the process, so that one that was killed holds nothing; what that leaves is a file that
    no one has locked. A forked process, such as that of an environment, holds nothing either, also if it lives longer.
    On a file system without locks a warning says so, and nothing is held.

    Args:
        folder: of the run, which exists.

    Raises:
        ValueError: another process holds it (the message names it), or nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._process = os.getpid()
        self._handle: int | None = None
        self._guard: Any = None
        try:
            self._take(folder)
        except OSError as error:
            raise ValueError(f"cannot write the run to {folder}: {error.strerror}") from error

    def release(self) -> None:
        """Let others write there."""
        handle, self._handle = self._handle, None
        if handle is None or os.getpid() != self._process:
            return
        with suppress(OSError):
            if _same(handle, self._path):
                self._path.unlink()
        _close(handle)
        if self._guard is not None:
            self._guard.release()
            with suppress(OSError):  # Windows removes no open file
                self._path.unlink(missing_ok=True)

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.release()

    def _take(self, folder: Path) -> None:
        while self._handle is None:
            handle = _opened(self._path)
            try:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise ValueError(f"{self._path} is no file: remove it")
                self._lock(handle, folder)
                if _same(handle, self._path):  # else whoever held it has removed it meanwhile
                    os.ftruncate(handle, 0)
                    os.write(handle, _myself().encode(errors="replace"))
                    self._handle = handle
            finally:
                if self._handle is None:
                    _close(handle)

    def _lock(self, handle: int, folder: Path) -> None:
        if fcntl is None:
            from filelock import FileLock, Timeout

            self._guard = FileLock(folder / GUARD, thread_local=False)
            try:
                self._guard.acquire(timeout=0)
            except Timeout:
                raise _held(folder, handle) from None
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _held(folder, handle) from None
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
            warnings.warn(f"{folder} is on a file system without locks: start no second process there", stacklevel=6)


def _opened(path: Path) -> int:
    """The lock's file, which may be there; no link is followed, and nobody is waited for at the end of a pipe."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    handle = os.open(path, flags, 0o666)
    _HANDLES.add(handle)
    return handle


def _close(handle: int) -> None:
    _HANDLES.discard(handle)
    os.close(handle)


def _same(handle: int, path: Path) -> bool:
    """Whether that is still the file of that name."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


def _myself() -> str:
    """This process, in words."""
    return f"process {os.getpid()} on {socket.gethostname()} ({shlex.join(sys.argv)})"


def _held(folder: Path, handle: int) -> ValueError:
    """What says who holds a folder."""
    with suppress(OSError):
        os.lseek(handle, 0, os.SEEK_SET)
        text = os.read(handle, 10_000).decode(errors="replace")
        if text == _myself():
            return ValueError(f"{folder} is being written by this process: close() the agent that learns there first")
        who = "".join(letter for letter in text if letter.isprintable())
        if who:
            who = who if len(who) <= _LONGEST else f"{who[:_LONGEST]}…"
            return ValueError(f"{folder} is being written by {who}: wait for it, or stop it")
    return ValueError(f"{folder} is being written by another process: wait for it, or stop it")


def _forget() -> None:
    """Close the locks' files in a forked process: they are locked as long as anyone has them open."""
    for handle in list(_HANDLES):
        with suppress(OSError):
            _close(handle)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
