"""agents.reports.run"""

import math

from agents.reports.run import ABSENT, Points, as_text
from tests.agents.reports.hand_made import a_run


def test_points_are_in_order_and_finite_and_the_last_of_a_step():
    points = Points.of([(30, 3.0), (10, 1.0), (20, math.nan), (30, 4.0), (40, math.inf)])
    assert points.steps.tolist() == [10, 30]
    assert points.values.tolist() == [1, 4]
    assert points.up_to(29).steps.tolist() == [10]
    assert points.up_to(30).steps.tolist() == [10, 30]
    assert Points.of([]).steps.shape == (0,)


def test_values_of_a_run():
    run = a_run([1], seed=7, before={"overlap": "true", "learning_rate": "9"})
    assert run.value("learning_rate") == "0.001"
    assert run.value("overlap") == "true"
    assert run.value("nothing") == ABSENT
    assert run.value("seed") == "7"


def test_values_of_json_as_text():
    assert [as_text(value) for value in ("a", 1, 0.5, None, True, [64, 64])] == [
        *("a", "1", "0.5", "null", "true", "[64, 64]")
    ]
