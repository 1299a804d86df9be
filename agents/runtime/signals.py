"""Stopping a run, or a command that has begun nothing yet, on Ctrl-C, SIGTERM, and what announces the end of a job."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType

URGENT = (signal.SIGINT, signal.SIGTERM)
"""Signals of which a second one stops at once."""
WARNINGS = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGBREAK") if hasattr(signal, name)
)
"""Signals that come with the end of a terminal or of a job's time, often more than once, where the system has them."""
SIGNALS = (*URGENT, *WARNINGS)


class StopSignal:
    """A context in which a signal requests a stop; a second Ctrl-C or SIGTERM stops at once.

    A signal that is ignored, as after ``nohup`` or for a job in the background of a script, stays ignored. Outside the
    main thread, where Python has no handlers, the context does nothing.

    Args:
        again: whether a second Ctrl-C or SIGTERM stops at once; under `torchrun` each Ctrl-C arrives twice.
        signals: that request a stop.

    Attributes:
        received: the first signal, or None.
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
        if threading.current_thread() is threading.main_thread():
            present = {number: signal.getsignal(number) for number in self._signals}
            left_alone = (signal.SIG_IGN, None)  # None: of another library, in C
            self._handlers = {number: handler for number, handler in present.items() if handler not in left_alone}
            for number in self._handlers:
                signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore(self._signals)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number)
        if self._again and number in URGENT:
            self._restore(URGENT)

    def _restore(self, signals: Sequence[signal.Signals]) -> None:
        for number in signals:
            if number in self._handlers:
                signal.signal(number, self._handlers[number])  # type: ignore[arg-type]


@contextmanager
def leaving_within(seconds: float, words: str) -> Iterator[None]:
    """A context that is left within a time of the first stopping signal, else the process ends without it.

    For libraries that may hold the main thread, which has to run the signals' handlers. The exit code is 128 + the
    signal's number, and nothing is cleaned up. Outside the main thread the context does nothing.

    Args:
        seconds: from the signal on.
        words: written to stderr where the time is up.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    left = threading.Event()

    def watch() -> None:
        while received := reader.recv(1):  # a byte for each signal that has a handler; none when writing has ended
            if received[0] in SIGNALS and not left.wait(seconds):
                with suppress(OSError):  # of a closed terminal
                    print(words, file=sys.stderr, flush=True)
                os._exit(128 + received[0])
        reader.close()

    threading.Thread(target=watch, name="last resort", daemon=True).start()
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        writer.close()


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
