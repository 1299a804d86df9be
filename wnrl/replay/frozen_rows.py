"""The rows of a ring as they were at one time, read by another thread while the ring is written to."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Condition
from typing import Any

import torch
from torch import Tensor

from wnrl.checkpoints.streams import Stream

__all__ = ["FrozenRows", "Rows"]

PART = 128 * 2**20
"""Bytes of a part, at most: larger than what is copied when a checkpoint is read."""
PIECE = 8 * 2**20
"""Bytes that are copied at once, while the ring's owner may wait."""
ASIDE = 256 * 2**20
"""Bytes of rows that are kept aside, at most; the ring's owner then waits for the reader."""


class FrozenRows:
    """The first rows of a ring as they are now: those that are to be overwritten before they are read are kept aside.

    The thread that owns the ring calls `about_to_write` before it writes, as long as this object lives, which the
    `Rows` keep alive; another thread reads those.

    Args:
        ring: `[rows, ...]`.
    """

    def __init__(self, ring: Tensor) -> None:
        self.ring, self.row_bytes = ring, max(ring[:1].nbytes, 1)
        self._changed = Condition()
        self._aside: dict[int, Tensor] = {}
        self._unread: dict[int, range] = {}  # by the first row of each part
        self._written: Any = None
        if ring.is_cuda:
            self._written = torch.cuda.Event()
            self._written.record()

    def parts(self, filled: int, oldest: int) -> list[Rows]:
        """The first `filled` rows in consecutive parts, whose age follows from the row that is overwritten first."""
        size = max(PART // self.row_bytes, 1)
        starts = range(0, max(filled, 1), size)
        self._unread = {start: range(start, min(start + size, filled)) for start in starts}
        first = oldest // size
        return [
            Rows(self, rows, -((number - first) % len(starts))) for number, rows in enumerate(self._unread.values())
        ]

    def about_to_write(self, start: int, stop: int) -> None:
        """Keep those of the rows from `start` to `stop` that are not read yet; it may wait for the reader."""
        with self._changed:
            for unread in self._unread.values():
                first, last = max(start, unread.start), min(stop, unread.stop)
                if first < last:
                    self._keep(first, last)
            while len(self._aside) * self.row_bytes > ASIDE:
                self._changed.wait()

    def close(self) -> None:
        """Nothing more will be read, and the owner does not wait."""
        with self._changed:
            self._unread.clear()
            self._aside.clear()
            self._changed.notify_all()

    def read(self, part: int, buffer: Tensor) -> Tensor | None:
        """The next rows of the part that starts at this row, copied to the buffer; None after the last."""
        with self._changed:
            unread = self._unread.get(part)
            if not unread:
                return None
            rows, self._unread[part] = unread[: len(buffer)], unread[len(buffer) :]
            piece = buffer[: len(rows)]
            self._copy(piece, rows)
            self._changed.notify_all()
        return piece

    def _keep(self, start: int, stop: int) -> None:
        rows = self.ring[start:stop].clone()
        for row in range(start, stop):
            self._aside.setdefault(row, rows[row - start])  # as it was at first
        if self._written is not None:
            self._written.record()

    def _copy(self, piece: Tensor, rows: range) -> None:
        """Copy rows of the ring, and those that were kept aside instead of what has overwritten them."""
        aside = [(row - rows.start, self._aside.pop(row)) for row in rows if row in self._aside]
        if self._written is None:
            self._copy_now(piece, rows, aside)
            return
        stream = torch.cuda.Stream(self.ring.device)
        stream.wait_event(self._written)
        with torch.cuda.stream(stream):
            self._copy_now(piece, rows, aside)
        stream.synchronize()  # before the owner writes

    def _copy_now(self, piece: Tensor, rows: range, aside: list[tuple[int, Tensor]]) -> None:
        piece.copy_(self.ring[rows.start : rows.stop], non_blocking=True)
        for place, row in aside:
            piece[place].copy_(row, non_blocking=True)


class Rows(Stream):
    """A part of frozen rows, to be read once.

    Args:
        frozen: all of them.
        rows: those of the part.
        age: greater where they are overwritten sooner.
    """

    def __init__(self, frozen: FrozenRows, rows: range, age: int) -> None:
        self._frozen, self._first, self.age = frozen, rows.start, age
        self.dtype, self.shape = frozen.ring.dtype, (len(rows), *frozen.ring.shape[1:])

    def pieces(self) -> Iterator[Tensor]:
        """The rows in order; none that were read before."""
        count = min(max(PIECE // self._frozen.row_bytes, 1), self.shape[0])
        pinned = self._frozen.ring.is_cuda
        buffer = torch.empty((count, *self.shape[1:]), dtype=self.dtype, pin_memory=pinned)
        while (piece := self._frozen.read(self._first, buffer)) is not None:
            yield piece

    def close(self) -> None:
        """Neither this part nor the others will be read."""
        self._frozen.close()
