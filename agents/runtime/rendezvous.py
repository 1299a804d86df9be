"""Where the processes of a run meet."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist

from agents.runtime.process_count import process_count, process_rank

PATIENCE = 5.0  # seconds until a line says what is waited for
_JOINED = "wnrl/joined"


def meet(timeout: timedelta) -> None:
    """Initialize torch's default process group once all processes are there; says, once, if that takes long.

    Args:
        timeout: of the operations of the group.

    Raises:
        ValueError: the address is used by another program, or is none.
    """
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":  # torchrun has started them all
        dist.init_process_group(backend, timeout=timeout)
        return
    rank, count = process_rank(), process_count()
    store = _store(rank, count)
    _wait_for_all(store, count)
    store.set_timeout(timeout)
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=timeout)


def _address() -> tuple[str, int]:
    port = os.environ["MASTER_PORT"]
    if not port.isdecimal() or int(port) >= 2**16:
        raise ValueError(f"MASTER_PORT must be a port, got {port!r}: start with torchrun")
    return os.environ["MASTER_ADDR"], int(port)


def _store(rank: int, count: int) -> dist.TCPStore:
    """The store of the first process, which that makes and the others connect to."""
    host, port = _address()
    if rank:
        _wait_until(lambda: _listens(host, port), lambda: f"waiting for the first process at {host}:{port}")
    try:
        return dist.TCPStore(host, port, count, rank == 0, wait_for_workers=False)
    except dist.DistError as error:
        reason = str(error).splitlines()[0][:200]
        raise ValueError(f"the processes cannot meet at {host}:{port}: {reason}") from error


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _wait_for_all(store: dist.TCPStore, count: int) -> None:
    """Wait until all processes have connected."""
    host, port = _address()
    store.add(_JOINED, 1)

    def missing() -> int:
        return count - store.add(_JOINED, 0)

    def line() -> str:
        return f"waiting for {missing()} more {'process' if missing() == 1 else 'processes'} at {host}:{port}"

    _wait_until(lambda: missing() <= 0, line)


def _wait_until(done: Callable[[], bool], line: Callable[[], str]) -> None:
    """Look every tenth of a second; print the line, once, when that has taken long."""
    began, said = time.monotonic(), False
    while not done():
        if not said and time.monotonic() - began > PATIENCE:
            print(line(), file=sys.stderr, flush=True)
            said = True
        time.sleep(0.1)
