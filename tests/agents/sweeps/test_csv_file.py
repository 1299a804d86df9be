"""agents.sweeps.csv_file"""

import csv

import pytest

from agents.sweeps.csv_file import write_csv
from wnrl.checkpoints.files import CheckpointError


def test_rows_come_back_as_text(tmp_path):
    path = tmp_path / "new" / "a.csv"
    for rows in ([["name", "score"], ["long ago", 1]], [["name", "score"], ['a, "b"\nc', 0.5], ["é", ""]]):
        write_csv(path, rows)
        with open(path, encoding="utf-8", newline="") as file:
            assert list(csv.reader(file)) == [[str(cell) for cell in row] for row in rows]
    assert path.read_bytes().endswith("0.5\né,\n".encode())


def test_what_is_there_stays_where_a_write_fails(tmp_path):
    path = tmp_path / "a.csv"
    write_csv(path, [["a"]])

    def rows():
        yield ["b"]
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match="No space left on device"):
        write_csv(path, rows())
    assert path.read_text() == "a\n"
