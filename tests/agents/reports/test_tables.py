"""agents.reports.tables"""

import csv
import dataclasses
import io

import pytest

from agents.reports.cells import Interval, shown
from agents.reports.tables import (
    Table,
    aggregate_table,
    curve_table,
    difference_tables,
    improvement_table,
    run_table,
    same_table,
    score_table,
    threshold_table,
)
from tests.agents.reports.hand_made import a_run
from tests.agents.reports.test_analysis import study


def column(table, name):
    return [shown(row[table.head.index(name)]) for row in table.rows]


def test_a_table_in_three_forms():
    table = Table("t", "A <title>", ("a|b", "c"), (("<1>", 'x,"y"'), ("line\nbreak", "|")))
    assert list(csv.reader(io.StringIO(table.as_csv()))) == [["a|b", "c"], ["<1>", 'x,"y"'], ["line\nbreak", "|"]]
    assert table.as_markdown() == '| a\\|b | c |\n| --- | --- |\n| \\<1> | x,"y" |\n| line break | \\| |\n'
    html = table.as_html()
    assert '<th scope="row">&lt;1&gt;</th><td>x,&quot;y&quot;</td>' in html
    assert 'aria-label="A &lt;title&gt;"' in html


def test_a_program_reads_numbers():
    """No separators of thousands, no dashes, an interval as two columns also where a row, or the table, has none."""
    rows = (("a", 12_345.678901, Interval(-1_234.5, 2_000.0), 12_000), ("b", None, None, 1))
    table = Table("t", "A title", ("method", "IQM", "95 % interval", "steps"), rows)
    head = ["method", "IQM", "95 % low", "95 % high", "steps"]
    assert list(csv.reader(io.StringIO(table.as_csv()))) == [
        head,
        ["a", "12345.6789", "-1234.5", "2000", "12000"],
        ["b", "", "", "", "1"],
    ]
    assert table._replace(rows=rows[1:]).plain_rows()[0] == head
    assert table.as_text().splitlines()[1].split() == ["a", "12,346", "-1,234", "to", "2,000", "12,000"]


@pytest.fixture(scope="module")
def analysis():
    runs = [a_run([v, v], seed=s, norm=n) for n, values in {"none": (1, 2, 3), "weight": (4, 6)}.items()
            for s, v in enumerate(values)]  # fmt: skip
    return study(runs, thresholds={"Task": 4.0})


def test_scores(analysis):
    table = score_table(analysis)
    assert column(table, "method") == ["dqn none", "dqn weight"]
    assert column(table, "IQM") == ["2", "5"]
    assert column(table, "95 % interval") == ["1 to 3", "–"]
    assert column(table, "seeds") == ["3", "2"]
    assert column(table, "deviation") == ["1", "1.414"]
    assert column(table, "highest") == ["3", "6"]
    assert "human-normalized IQM" not in table.head


def test_atari_is_human_normalized():
    runs = [a_run([16.1, 16.1], env="Breakout", seed=0), a_run([1, 1], env="Task", seed=0)]
    assert column(score_table(study(runs)), "human-normalized IQM") == ["0.5", "–"]


def test_thresholds_and_improvement(analysis):
    table = threshold_table(analysis)
    assert column(table, "reached by") == ["0 of 3", "2 of 2"]
    assert column(table, "median steps") == ["not reached", "100"]
    assert column(table, "median minutes") == ["not reached", "0.03333"]
    (row,) = improvement_table(analysis).rows
    assert row[:5] == ("dqn weight", "dqn none", "Task", 1, None)
    assert row[5:] == (3.5, None, 2)  # (5 − 1 + 5 − 2) / 2


def test_aggregates():
    table = aggregate_table(study([a_run([v, v], env=e, seed=v) for e in "AB" for v in range(3)]))
    assert table.head[:5] == ("method", "environments", "runs", "IQM", "95 % interval")
    assert table.rows[0][:4] == ("dqn none", "2", 6, 0.5)
    assert aggregate_table(study([a_run([1, 2])])).rows == ()


def test_settings():
    runs = [
        a_run([1, 2], settings={"learning_rate": "1", "gamma": "0.9", "clip": "5"}),
        a_run([1, 2], norm="weight", settings={"learning_rate": "2", "gamma": "0.9", "clip": "5"}),
        a_run([1, 2], agent="ppo", settings={"learning_rate": "3", "gamma": "0.8", "clip": "5"}),
    ]
    differ, of_agents = difference_tables(study(runs))
    assert differ.head == ("setting", "dqn none", "dqn weight", "ppo none")
    assert differ.rows == (("learning_rate", "1", "2", "3"),)
    assert of_agents.head == ("setting", "dqn", "ppo")
    assert of_agents.rows == (("gamma", "0.9", "0.8"),)
    assert same_table(study(runs)).rows == (("run_dir", "r0"), ("clip", "5"))


def test_long_values_are_cut_where_they_differ():
    texts = ["x" * 100 + end for end in ("1" + "y" * 100, "2")]
    runs = [a_run([1, 2], norm=f"norm{i}", settings={"net": text}) for i, text in enumerate(texts)]
    differ, _ = difference_tables(study(runs))
    assert differ.rows == (("net", "…" + "x" * 20 + "1" + "y" * 39 + "…", "…" + "x" * 20 + "2"),)


def test_runs_and_points(analysis):
    table = run_table(analysis)
    assert column(table, "run")[0] == "dqn-none-Task-0"
    assert column(table, "final score") == ["1", "2", "3", "4", "6"]
    points = curve_table(analysis)
    assert points.rows[0] == ("Task", "dqn none", 100, 2, 1, 3)
    assert points.plain_rows()[-1] == ["Task", "dqn weight", "200", "5", "", ""]
    assert len(points.rows) == 400


def test_a_run_whose_learning_broke_down_is_told_from_one_that_ended():
    runs = [a_run([1, 2]), dataclasses.replace(a_run([3, 3], seed=1), broke_down=1_500)]
    assert column(run_table(study(runs)), "broke down at") == ["–", "1,500"]
    assert "broke down at" not in run_table(study(runs[:1])).head
