"""Leaving a run when the user or the system asks."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """While it is entered, Ctrl-C and SIGTERM ask to stop; a second one stops at once.

    Args:
        again: whether a second one does; `torchrun` passes on a Ctrl-C that the terminal has sent already.
    """

    def __init__(self, again: bool = True) -> None:
        self._again = again
        self.received: signal.Signals | None = None
        self._handlers: dict[signal.Signals, object] = {}

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self.received is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects: 0, or 128 + the signal's number."""
        return 0 if self.received is None else 128 + self.received

    def __enter__(self) -> StopSignal:
        self._handlers = {number: signal.signal(number, self._receive) for number in SIGNALS}
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
