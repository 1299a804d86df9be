"""Connections between the processes of a run, by which the first one notices at any time that another has ended."""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import time
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

PATIENCE = 30.0
"""Seconds for all processes to connect."""
_ALL: weakref.WeakSet[Peers] = weakref.WeakSet()


class Peers:
    """A connection from each process to the first, which the system closes with the process, however that ends.

    Nothing is sent on it but, once, what shows that it comes from the run. A forked process, such as that of an
    environment, does not keep it open. Where the processes cannot connect, a warning says so, and nobody is missed.

    Args:
        rank: of this process.
        world_size: number of processes.
        address: host of the first process.
        broadcast: returns the first process's value in all of them.
    """

    def __init__(self, rank: int, world_size: int, address: str, broadcast: Callable[[Any], Any]) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        _ALL.add(self)
        try:
            if rank:
                self._connect(address, *broadcast(None))
            else:
                self._accept(address, world_size - 1, broadcast)
        except OSError as error:
            self.close()
            warnings.warn(f"a process that ends is noticed only after an evaluation: {error}", stacklevel=2)

    def _accept(self, address: str, number: int, broadcast: Callable[[Any], Any]) -> None:
        token, until = secrets.token_bytes(16), time.monotonic() + PATIENCE
        try:
            server = socket.create_server((address, 0), backlog=number + 16)
        except OSError:
            broadcast((0, b""))
            raise
        with server:
            broadcast((server.getsockname()[1], token))
            while len(self._sockets) < number:
                server.settimeout(max(until - time.monotonic(), 0.01))
                made, _ = server.accept()
                made.settimeout(1.0)
                with suppress(OSError):
                    if secrets.compare_digest(made.recv(len(token), socket.MSG_WAITALL), token):
                        made.setblocking(False)
                        self._sockets.append(made)
                        self._selector.register(made, selectors.EVENT_READ)
                        continue
                made.close()  # of a stranger

    def _connect(self, address: str, port: int, token: bytes) -> None:
        if port:
            made = socket.create_connection((address, port), timeout=PATIENCE)
            made.sendall(token)
            self._sockets.append(made)

    def one_is_gone(self) -> bool:
        """Whether a process has ended; known in the first process alone."""
        return bool(self._sockets) and bool(self._selector.select(0))

    def close(self) -> None:
        """End the connections."""
        for one in self._sockets:
            one.close()
        self._sockets.clear()
        self._selector.close()


def _forget() -> None:
    """Close the connections in a forked process."""
    for peers in list(_ALL):
        with suppress(OSError):
            peers.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
