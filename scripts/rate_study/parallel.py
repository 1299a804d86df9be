"""Runs of a study in parallel processes, each with one thread."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

import torch

Job = TypeVar("Job")
Done = TypeVar("Done")


def in_parallel(work: Callable[[Job], Done], wanted: Sequence[Job], jobs: int) -> Iterator[Done]:
    """What `work` returns for each, as soon as it is there.

    Args:
        work: a function of a module; called in this process where there is one job or one process.
        wanted: its arguments.
        jobs: parallel processes.

    Raises:
        ValueError: `jobs` is below 1, or one of the processes was killed.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    return _here(work, wanted) if jobs == 1 or len(wanted) < 2 else _apart(work, wanted, jobs)


def _here(work: Callable[[Job], Done], wanted: Sequence[Job]) -> Iterator[Done]:
    with _one_thread():
        yield from map(work, wanted)


def _apart(work: Callable[[Job], Done], wanted: Sequence[Job], jobs: int) -> Iterator[Done]:
    context = multiprocessing.get_context("spawn")  # a fork of torch's threads may hang
    pool = ProcessPoolExecutor(min(jobs, len(wanted)), context, initializer=_begin_worker)
    try:
        for future in as_completed([pool.submit(work, job) for job in wanted]):
            yield future.result()
    except BrokenProcessPool:
        raise ValueError(
            "a process of the study was killed, perhaps for want of memory: the same command goes on, with fewer --jobs"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """Use one thread; end silently on Ctrl-C, and when the parent process ends."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
