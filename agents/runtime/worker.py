"""A thread beside the run that does one piece of work after the other, with a stream of its own on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext

import torch


class Worker:
    """Does one piece of work at a time in one thread, which ends when this object is gone.

    Args:
        device: of the work. On CUDA the work sees what was launched before it began, and what is launched after `end`
            sees the work; neither waits for the device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="worker")
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._begun: Future[None] | None = None
        self._held: Callable[[], None] | None = None

    def begin(self, work: Callable[[], None]) -> None:
        """Begin some work, with as many threads of torch as the caller has; that before has to have been ended."""
        assert self._begun is None
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
        self._held = work  # until its launches are waited for: tensors that it frees could be overwritten before
        self._begun = self._pool.submit(self._do, work, torch.get_num_threads())

    def end(self) -> None:
        """Wait for the work that was begun, if any, and raise the error that it raised; may be interrupted."""
        if self._begun is None:
            return
        wait([self._begun])
        begun, self._begun = self._begun, None
        if self._stream is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
        self._held = None
        begun.result()

    def _do(self, work: Callable[[], None], threads: int) -> None:
        if torch.get_num_threads() != threads:  # each thread of Python has its own number
            torch.set_num_threads(threads)
        with nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            work()
