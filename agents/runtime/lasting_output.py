"""Standard output and error that outlive their readers: what can no longer be written is dropped."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import Any, TextIO

_PATIENCE = 1.0  # seconds for a reader that is slow, of a pipe that does not block


class _Lasting(io.RawIOBase):
    """Writes to a file, pipe or terminal; what it refuses counts as written.

    Args:
        raw: the file that is written to.
        stream: its stream, which would close it at its own end.
    """

    def __init__(self, raw: Any, stream: TextIO) -> None:
        self._raw, self._stream, self.name, self.mode = raw, stream, raw.name, raw.mode

    def write(self, data: Any) -> int:
        try:
            written = self._raw.write(data)
            if written is None:  # a full pipe that does not block
                select.select([], [self._raw], [], _PATIENCE)
                written = self._raw.write(data)
        except OSError:  # the reader is gone, the disk is full, the terminal is dead
            written = None
        return memoryview(data).nbytes if written is None else written

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._raw.isatty()

    def fileno(self) -> int:
        return self._raw.fileno()


def lasting(stream: TextIO | None) -> TextIO:
    """A stream that never fails to write to where `stream` writes; another kind of stream than a file's as it is.

    Args:
        stream: of the interpreter; None where its file was closed from the start: what is written is dropped.
    """
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    buffer: Any = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # `python -u` has no buffer
    if type(stream) is not io.TextIOWrapper or isinstance(raw, _Lasting | io.BytesIO):
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    own: Any = _Lasting(raw, stream)
    return io.TextIOWrapper(
        own if raw is buffer else io.BufferedWriter(own),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def keep_output_going() -> None:
    """Let nothing that is printed from now on end the process, however its stdout and stderr end.

    Where they were closed from the start, their numbers are taken, so that no file of the run gets them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
    if sys.stdout is sys.__stdout__:
        sys.stdout = lasting(sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = lasting(sys.stderr)
