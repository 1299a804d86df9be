"""wnrl.replay.frozen_rows: rows as they were, whatever is written to their ring while they are read."""

import gc
import threading
import weakref

import numpy as np
import pytest
import torch

from wnrl.replay import frozen_rows
from wnrl.replay.frozen_rows import FrozenRows

ROWS, WIDTH = 40, 3


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Parts of 11 rows, read by 4; of a row of 12 bytes, 1,000 may be kept aside."""
    monkeypatch.setattr(frozen_rows, "PART", 11 * 4 * WIDTH)
    monkeypatch.setattr(frozen_rows, "PIECE", 4 * 4 * WIDTH)
    monkeypatch.setattr(frozen_rows, "ASIDE", 1_000 * 4 * WIDTH)


def ring():
    return torch.arange(ROWS * WIDTH, dtype=torch.int32).view(ROWS, WIDTH)


def joined(parts):
    return torch.cat([piece.clone() for part in parts for piece in part.pieces()])


def overwrite(rows, frozen, start, stop, value):
    frozen.about_to_write(start, stop)
    rows[start:stop] = value


@pytest.mark.parametrize("filled", [1, 11, 12, ROWS])
def test_unchanged_rows_are_read_as_they_are(filled):
    rows = ring()
    parts = FrozenRows(rows).parts(filled, 0)
    assert sum(part.shape[0] for part in parts) == filled
    assert all(part.shape[1:] == (WIDTH,) and part.dtype == torch.int32 for part in parts)
    assert torch.equal(joined(parts), rows[:filled])


def test_a_ring_without_rows_has_an_empty_part():
    (part,) = FrozenRows(ring()).parts(0, 0)
    assert part.shape == (0, WIDTH)
    assert not list(part.pieces())


@pytest.mark.parametrize("seed", range(20))
def test_reading_and_writing_in_any_order_gives_the_rows_as_they_were(seed):
    """Against a copy; parts are read in any order, and rows are overwritten again and again meanwhile."""
    rng, rows, value = np.random.default_rng(seed), ring(), -1
    frozen = FrozenRows(rows)
    truth, parts = rows.clone(), frozen.parts(ROWS, int(rng.integers(ROWS)))
    found = {}
    for number in rng.permutation(len(parts)):
        pieces, reading = [], parts[number].pieces()
        while True:
            for _ in range(rng.integers(4)):
                start = int(rng.integers(ROWS - 2))
                overwrite(rows, frozen, start, start + int(rng.integers(1, 3)), value := value - 1)
            piece = next(reading, None)
            if piece is None:
                break
            pieces.append(piece.clone())
        found[number] = torch.cat(pieces)
    assert torch.equal(torch.cat([found[number] for number in range(len(parts))]), truth)


def test_a_row_that_nobody_keeps_is_the_new_one():
    """The wrong answer where the owner does not say that it writes."""
    rows = ring()
    truth, parts = rows.clone(), FrozenRows(rows).parts(ROWS, 0)
    rows[5] = -1
    assert not torch.equal(joined(parts), truth)


@pytest.mark.parametrize(("oldest", "order"), [(0, [0, 1, 2, 3]), (11, [1, 2, 3, 0]), (25, [2, 3, 0, 1])])
def test_parts_that_are_overwritten_sooner_are_older(oldest, order):
    parts = FrozenRows(ring()).parts(ROWS, oldest)
    assert sorted(range(4), key=lambda number: -parts[number].age) == order


def test_a_part_is_read_once():
    (part, *_) = FrozenRows(ring()).parts(ROWS, 0)
    assert len(list(part.pieces())) == 3
    assert not list(part.pieces())


def test_the_owner_waits_where_too_many_rows_are_kept(monkeypatch):
    monkeypatch.setattr(frozen_rows, "ASIDE", 2 * 4 * WIDTH)
    rows = ring()
    frozen = FrozenRows(rows)
    truth, parts, went_on = rows.clone(), frozen.parts(ROWS, 0), threading.Event()

    def write():
        overwrite(rows, frozen, 0, 3, -1)
        went_on.set()

    owner = threading.Thread(target=write, daemon=True)
    owner.start()
    assert not went_on.wait(0.2)
    assert torch.equal(joined(parts), truth)
    assert went_on.wait(10)
    owner.join()
    assert rows[0].tolist() == [-1] * WIDTH


def test_closed_rows_are_neither_read_nor_waited_for(monkeypatch):
    monkeypatch.setattr(frozen_rows, "ASIDE", 0)
    rows = ring()
    frozen = FrozenRows(rows)
    parts, went_on = frozen.parts(ROWS, 0), threading.Event()
    owner = threading.Thread(target=lambda: (overwrite(rows, frozen, 0, 3, -1), went_on.set()), daemon=True)
    owner.start()
    assert not went_on.wait(0.2)
    parts[2].close()
    assert went_on.wait(10)
    assert not [piece for part in parts for piece in part.pieces()]


def test_what_nobody_reads_is_gone_with_its_parts():
    """Without the help of the collector: the owner would keep rows for nobody until it comes."""
    gc.disable()
    try:
        frozen = FrozenRows(ring())
        parts, gone = frozen.parts(ROWS, 0), weakref.ref(frozen)
        del frozen
        assert gone() is not None
        del parts
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_ring_on_a_gpu_is_read_as_it_was():
    rows = ring().cuda()
    frozen = FrozenRows(rows)
    truth, parts = rows.cpu(), frozen.parts(ROWS, 0)
    for row in range(ROWS):
        overwrite(rows, frozen, row, row + 1, -row)
    assert torch.equal(joined(parts), truth)
