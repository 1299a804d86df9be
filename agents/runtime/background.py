"""Work beside the run: one piece at a time, in a thread, with a stream of its own on a GPU."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


class Background:
    """Does one piece of work at a time in another thread, which does not keep the program from ending.

    Args:
        device: of the run. On CUDA the work sees what was launched before it began, and waits for nothing after that.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._thread: threading.Thread | None = None
        self._done = threading.Event()  # a join that is interrupted may take the thread for ended
        self._error: BaseException | None = None

    @property
    def works(self) -> bool:
        """Whether the work that was begun last goes on."""
        return self._thread is not None and not self._done.is_set()

    def begin(self, work: Callable[[], None]) -> None:
        """Begin some work; that before has to have been ended."""
        assert self._thread is None
        stream, done = self._stream(), threading.Event()

        def run() -> None:
            try:
                with stream:
                    work()
            except BaseException as error:
                self._error = error
            finally:
                done.set()

        self._done = done
        self._thread = threading.Thread(target=run, name="background", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Wait for the work that was begun, if any, and raise the error that it raised."""
        if self._thread is not None:
            self._done.wait()
            self._thread.join()  # which frees tensors: the program must not end meanwhile
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _stream(self) -> AbstractContextManager[Any]:
        if self._device.type != "cuda":
            return nullcontext()
        stream = torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        return torch.cuda.stream(stream)
