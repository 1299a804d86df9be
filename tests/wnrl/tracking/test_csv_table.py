import csv
import math

from wnrl.tracking.csv_table import CsvTable


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
