"""Stopping a run, or a command that has begun nothing yet, on Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """A context in which Ctrl-C and SIGTERM request a stop; a second signal stops at once.

    Args:
        signals: that do so.
        again: whether a second signal stops at once; under `torchrun` each Ctrl-C arrives twice.

    Attributes:
        received: the signal, or None.
    """

    def __init__(self, again: bool = True, signals: Sequence[signal.Signals] = SIGNALS) -> None:
        self._again, self._signals = again, signals
        self.received: signal.Signals | None = None
        self._handlers: dict[signal.Signals, object] = {}

    def __call__(self) -> bool:
        """Whether a stop was requested."""
        return self.received is not None

    @property
    def exit_code(self) -> int:
        """0, or 128 + the signal's number, as shells have it."""
        return 0 if self.received is None else 128 + self.received

    def __enter__(self) -> StopSignal:
        self._handlers = {number: signal.signal(number, self._receive) for number in self._signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        if self._again:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """A context in which Ctrl-C ends the process with code 130 and no traceback, for imports.

    An import turns KeyboardInterrupt into errors of its own. Nothing is cleaned up: nothing may have been begun.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield  # someone else has decided what Ctrl-C does
        return
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
