import csv
import math
import os
from pathlib import Path

import pytest

from wnrl.tracking import csv_table
from wnrl.tracking.csv_table import CsvTable, Rows, read_rows


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_new_name_widens_the_table(tmp_path):
    table = CsvTable(tmp_path / "p.csv")
    table.append({"step": 1, "a": 0.5})
    table.append({"step": 2, "b/c": -2.0})
    table.append({"step": 3, "a": 1.5, "b/c": 3.0})
    assert rows(tmp_path / "p.csv") == [
        {"step": "1", "a": "0.5", "b/c": ""},
        {"step": "2", "a": "", "b/c": "-2.0"},
        {"step": "3", "a": "1.5", "b/c": "3.0"},
    ]


def test_numbers_come_back_exactly(tmp_path):
    table, value = CsvTable(tmp_path / "p.csv"), 0.1 + 0.2
    table.append({"step": 10**12, "a": value, "b": math.nan})
    (row,) = rows(tmp_path / "p.csv")
    assert (int(row["step"]), float(row["a"])) == (10**12, value)
    assert math.isnan(float(row["b"]))


def test_goes_on_after_the_last_step_that_counts(tmp_path):
    table = CsvTable(tmp_path / "p.csv")
    for step in (10, 20, 30):
        table.append({"step": step, "a": step / 4})
    table = CsvTable(tmp_path / "p.csv", last_step=20)
    table.append({"step": 30, "a": 99})
    assert [(row["step"], row["a"]) for row in rows(tmp_path / "p.csv")] == [("10", "2.5"), ("20", "5.0"), ("30", "99")]


def test_without_a_last_step_the_table_starts_empty(tmp_path):
    CsvTable(tmp_path / "p.csv").append({"step": 1, "a": 1})
    CsvTable(tmp_path / "p.csv")
    assert rows(tmp_path / "p.csv") == []


def test_a_table_that_is_missing_on_resume_starts_empty(tmp_path):
    CsvTable(tmp_path / "p.csv", last_step=5).append({"step": 6, "a": 1})
    assert rows(tmp_path / "p.csv") == [{"step": "6", "a": "1"}]


def test_each_row_is_in_the_file_at_once_and_nothing_else_is_left(tmp_path):
    table = CsvTable(tmp_path / "p.csv")
    table.append({"step": 1, "a": 1})
    assert len(rows(tmp_path / "p.csv")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


def test_values_of_one_step_are_one_row(tmp_path):
    table = CsvTable(tmp_path / "p.csv")
    table.append({"step": 10, "a": 1.5})
    table.append({"step": 10, "b": 2.5})  # a new column
    table.append({"step": 20, "a": 3.0})
    table.append({"step": 20, "b": 4.0})  # a column that is there
    table.append({"step": 20, "a": 3.25})
    table.append({"step": 30, "b": 5.0})
    assert (tmp_path / "p.csv").read_text().splitlines() == ["step,a,b", "10,1.5,2.5", "20,3.25,4.0", "30,,5.0"]


def test_a_row_that_becomes_shorter_leaves_nothing_behind(tmp_path):
    table = CsvTable(tmp_path / "p.csv")
    table.append({"step": 10, "a": 0.123456789})
    table.append({"step": 10, "a": 1})
    assert (tmp_path / "p.csv").read_bytes() == b"step,a\r\n10,1\r\n"


def test_values_of_one_step_are_one_row_over_a_resume(tmp_path):
    """Also where the file has two rows of a step, as older versions wrote them."""
    (tmp_path / "p.csv").write_text("step,a,b\n10,1.0,\n10,,2.0\n20,3.0,\n30,9.0,\n")
    table = CsvTable(tmp_path / "p.csv", last_step=20)
    assert rows(tmp_path / "p.csv") == [
        {"step": "10", "a": "1.0", "b": "2.0"},
        {"step": "20", "a": "3.0", "b": ""},
    ]
    table.append({"step": 20, "b": 4.0})
    table.append({"step": 30, "a": 5.0, "c": 6.0})
    assert rows(tmp_path / "p.csv") == [
        {"step": "10", "a": "1.0", "b": "2.0", "c": ""},
        {"step": "20", "a": "3.0", "b": "4.0", "c": ""},
        {"step": "30", "a": "5.0", "b": "", "c": "6.0"},
    ]


WHOLE = b"step,a,b\r\n1,0.5,\r\n2,,nan\r\n"


@pytest.mark.parametrize(
    ("tail", "dropped"),
    [
        (b"", 0),
        (b"\0" * 512, 1),  # what some file systems leave after a lost power supply
        (b"\0\0\r\n", 1),
        (b",1,2\r\n", 1),
        (b"\r\n", 0),
        (b"\xff\xfe,1,2\r\n", 1),
        (b"3,1", 1),
        (b"3,1,25", 1),  # which may have been 250
        (b"3,1\r\n", 1),
        (b"3,1,2,4\r\n", 1),
        (b"3,1,x\r\n", 1),
        (b"-3,1,2\r\n3.5,1,2\r\n", 2),
        ("³,1,2\r\n".encode(), 1),
        (b'3,"1,2\r\n4,5,6\r\n', 1),
    ],
)
def test_what_is_no_row_is_dropped_and_counted(tmp_path: Path, tail: bytes, dropped: int) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(WHOLE + tail)
    table = CsvTable(path, last_step=3)
    assert table.dropped == dropped
    table.append({"step": 9, "a": 1.0})
    assert path.read_bytes() == WHOLE + b"9,1.0,\r\n"


def test_rows_after_a_damaged_one_are_kept(tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(b"step,a\n1,2\n\0\0\n3,4\n")
    assert read_rows(path) == Rows(["step", "a"], [{"step": "1", "a": "2"}, {"step": "3", "a": "4"}], 1)


@pytest.mark.parametrize("text", [b"\0" * 20, b"a,b\n1,2\n", b"step,step\n1,2\n", b"\xff,step\n1,2\n"])
def test_a_table_without_columns_is_set_aside(tmp_path, text):
    path = tmp_path / "p.csv"
    path.write_bytes(text)
    table = CsvTable(path, last_step=5)
    assert table.dropped >= 1
    table.append({"step": 6, "a": 1})
    assert rows(path) == [{"step": "6", "a": "1"}]
    assert (tmp_path / "p.csv.damaged").read_bytes() == text


class Disk:
    """A disk that takes so many bytes more, and says so as the system does."""

    def __init__(self, monkeypatch, left):
        self.left, self._write = left, csv_table._write
        monkeypatch.setattr(csv_table, "_write", self.write)

    def write(self, file, start, line):
        room = max(0, os.fstat(file.fileno()).st_size - start) + self.left  # what the file has, it keeps
        self._write(file, start, line[:room])
        if len(line) > room:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize("left", [0, 1, 3, 5])
def test_a_full_disk_leaves_no_half_row(tmp_path, monkeypatch, left):
    """Neither a new one, nor one to which values are added."""
    path = tmp_path / "p.csv"
    table = CsvTable(path)
    table.append({"step": 1, "a": 0.5, "b": 1.0})
    table.append({"step": 2, "a": 1.5})
    before = path.read_bytes()
    with monkeypatch.context() as full:
        Disk(full, left)
        for step in (2, 3):
            with pytest.raises(OSError, match="No space left"):
                table.append({"step": step, "b": 0.123456789})
            assert path.read_bytes() == before
    table.append({"step": 2, "b": 4.0})
    table.append({"step": 4, "a": 1.0})
    assert [tuple(row.values()) for row in rows(path)] == [("1", "0.5", "1.0"), ("2", "1.5", "4.0"), ("4", "1.0", "")]


def test_a_full_disk_leaves_no_new_column(tmp_path, monkeypatch):
    """Else later rows would have more cells than the table has columns."""
    path = tmp_path / "p.csv"
    table = CsvTable(path)
    table.append({"step": 1, "a": 0.5})

    def refuse(*paths):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "replace", refuse)
        with pytest.raises(OSError, match="No space left"):
            table.append({"step": 2, "b": 1.0})
    table.append({"step": 3, "a": 2.0})
    table.append({"step": 4, "b": 3.0})
    assert [tuple(row.values()) for row in rows(path)] == [("1", "0.5", ""), ("3", "2.0", ""), ("4", "", "3.0")]
    assert [one.name for one in tmp_path.iterdir()] == ["p.csv"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_a_table_that_is_gone_or_on_a_full_disk_is_an_os_error(tmp_path):
    """Which a run goes on after."""
    table = CsvTable(tmp_path / "p.csv")
    table.append({"step": 1, "a": 0.5})
    (tmp_path / "p.csv").unlink()
    for row in ({"step": 2, "a": 1.0}, {"step": 2, "b": 1.0}):
        with pytest.raises(OSError, match=r"no file|No such file"):
            table.append(row)
    (tmp_path / "p.csv").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        table.append({"step": 2, "a": 1.0})


def test_a_table_without_a_row_is_not_damaged(tmp_path):
    """As that of a run which was stopped before its first one."""
    CsvTable(tmp_path / "p.csv")
    table = CsvTable(tmp_path / "p.csv", last_step=5)
    assert table.dropped == 0
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]
