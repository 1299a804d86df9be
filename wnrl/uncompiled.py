"""Passes through networks that run as they are written, though they are compiled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_LOCK = threading.Lock()
_inside = 0
_stance: Any = None


@contextmanager
def uncompiled() -> Iterator[None]:
    """A context in which nothing is compiled, and nothing that was compiled is called.

    Torch's own setting is the whole process's: of two threads that leave it in the order in which they came, the second
    would leave it as the first one had set it.
    """
    global _inside, _stance
    with _LOCK:
        if not _inside:
            _stance = _force_eager()
        _inside += 1
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if not _inside:
                _stance.__exit__(None, None, None)


def _force_eager() -> Any:
    stance: Any = torch.compiler.set_stance("force_eager")
    stance.__enter__()
    return stance
