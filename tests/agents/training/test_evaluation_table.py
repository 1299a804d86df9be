"""agents.training.evaluation_table: a row for each game, and what a resume keeps of them."""

import pytest

from agents.training.evaluation import Scores
from agents.training.evaluation_table import COLUMNS, EvaluationTable, count_evaluations
from envs import Episode


def games(*scores):
    return Scores.of([Episode(0, score, 10 * index + 10) for index, score in enumerate(scores)])


def rows(path):
    head, *lines = (path / "evaluations.csv").read_text().splitlines()
    assert head == ",".join(COLUMNS)
    return lines


def test_every_game_has_a_row(tmp_path):
    table = EvaluationTable(tmp_path)
    assert rows(tmp_path) == []
    table.append(10, 1700000000.12345, 2**62, games(1.5, -2.0))
    table.append(20, 1700000100.0, 7, games(3.0))
    assert rows(tmp_path) == [
        f"10,1700000000.123,{2**62},0,1.5,10",
        f"10,1700000000.123,{2**62},1,-2.0,20",
        "20,1700000100.0,7,0,3.0,10",
    ]


def test_a_resume_keeps_the_rows_up_to_its_step(tmp_path):
    table = EvaluationTable(tmp_path)
    for step in (10, 20, 30):
        table.append(step, 1.0, 7, games(float(step)))
    EvaluationTable(tmp_path, last_step=20).append(25, 2.0, 7, games(4.0))
    assert [line.split(",")[0] for line in rows(tmp_path)] == ["10", "20", "25"]
    EvaluationTable(tmp_path)
    assert rows(tmp_path) == []


def test_one_that_is_played_again_replaces_its_rows(tmp_path):
    """Its rows may have been written after the checkpoint from which a run goes on."""
    table = EvaluationTable(tmp_path)
    table.append(10, 1.0, 7, games(1.0, 2.0))
    table = EvaluationTable(tmp_path, last_step=15)
    table.append(10, 2.0, 7, games(5.0))
    assert rows(tmp_path) == ["10,2.0,7,0,5.0,10"]


def test_damaged_rows_are_dropped(tmp_path):
    EvaluationTable(tmp_path).append(10, 1.0, 7, games(1.0))
    with (tmp_path / "evaluations.csv").open("ab") as file:
        file.write(b"\0\0\n20,2.0,7,0,x,10\n20,2.")
    said = []
    table = EvaluationTable(tmp_path, 30, said.append)
    assert rows(tmp_path) == ["10,1.0,7,0,1.0,10"]
    assert said == [f"{tmp_path / 'evaluations.csv'}: 3 damaged lines are dropped"]
    table.append(20, 2.0, 7, games(1.0))
    assert len(rows(tmp_path)) == 2


def test_a_table_whose_columns_are_damaged_is_kept_under_another_name(tmp_path):
    """As a spreadsheet writes it where commas are decimal points."""
    text, said = "step;wall_time;seed;game;score;length\n10;1,0;7;0;1,0;10\n", []
    (tmp_path / "evaluations.csv").write_text(text)
    EvaluationTable(tmp_path, 30, said.append)
    assert rows(tmp_path) == []
    assert (tmp_path / "evaluations.csv.damaged").read_text() == text
    assert said == [f"{tmp_path / 'evaluations.csv'}: 2 damaged lines are dropped"]


def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    table = EvaluationTable(tmp_path)
    table.append(10, 1.0, 7, games(1.0))

    def full(path):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("agents.training.evaluation_table.replacing", full)
        with pytest.raises(OSError, match="no space"):
            table.append(20, 1.0, 7, games(1.0))
    assert len(rows(tmp_path)) == 1
    table.append(30, 1.0, 7, games(1.0))
    assert [line.split(",")[0] for line in rows(tmp_path)] == ["10", "30"]


def test_evaluations_are_counted_in_both_tables(tmp_path):
    """Those of older runs are in progress.csv, and those that training has waited for in both."""
    assert count_evaluations(tmp_path) == 0
    (tmp_path / "progress.csv").write_text("step,eval/mean_reward,a\n10,,1\n20,0.0,1\n30,nan,2\n40,,2\n")
    assert count_evaluations(tmp_path) == 2
    table = EvaluationTable(tmp_path)
    table.append(30, 1.0, 7, games(1.0, 2.0))
    table.append(50, 1.0, 7, games(1.0))
    assert count_evaluations(tmp_path) == 3
