"""How many processes make a run together, as `torchrun` says it in the environment. Nothing here imports torch."""

from __future__ import annotations

import os

_ADDRESS = ("RANK", "MASTER_ADDR", "MASTER_PORT")


def process_count() -> int:
    """The number of processes: `WORLD_SIZE`, or 1 where that is not set or empty.

    Raises:
        ValueError: it is no such number, or says several while nothing says where they meet.
    """
    text = os.environ.get("WORLD_SIZE", "").strip() or "1"
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"WORLD_SIZE must be a number of processes, got {text!r}: unset it, or start with torchrun")
    missing = [name for name in _ADDRESS if not os.environ.get(name)]
    if int(text) > 1 and missing:
        raise ValueError(
            f"WORLD_SIZE is {text}, but {', '.join(missing)} not set: start with torchrun, or unset WORLD_SIZE for one "
            "process"
        )
    return int(text)


def process_rank() -> int:
    """Which of the processes this is, from 0 on; job systems set `RANK` for a single process too.

    Raises:
        ValueError: as `process_count`, or `RANK` is none of them.
    """
    count = process_count()
    if count == 1:
        return 0
    text = os.environ["RANK"]
    if not text.isdecimal() or int(text) >= count:
        raise ValueError(f"RANK must be below WORLD_SIZE, {count}, got {text!r}: start with torchrun")
    return int(text)
