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
