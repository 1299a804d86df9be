import math
import sys

import pytest
from rate_study.figure import CEILING, check_matplotlib, draw, make_figure
from rate_study.report import Comparison

from tests.scripts.rate_study.test_report import CHANCE, outcomes


@pytest.fixture
def comparison():
    rows = {
        "none": [(2.0, 2.1, 2.2), (0.4, 0.3, 0.5), (math.nan, 0.2, 5.0), (math.nan,) * 3],
        "mean_batch": [(0.2, 0.2, 0.21), (0.1, 0.11, 0.09), (0.15, 0.3, 0.31), (1.0, 1.0, 7.0)],
    }
    return Comparison(outcomes(**rows))


def texts(axes):
    return [(text.get_position()[0], text.get_text()) for text in axes.texts]


def test_medians_are_lines_that_end_at_the_ceiling(comparison):
    left, _ = make_figure(comparison, 0.9).axes
    none, mean_batch = left.lines[:2]
    top = CEILING * CHANCE
    assert none.get_xdata().tolist() == pytest.approx([0.001, 0.01, 0.1, 1.0])
    assert none.get_ydata().tolist() == pytest.approx([2.1, 0.4, top, top])
    assert mean_batch.get_ydata().tolist() == pytest.approx([0.2, 0.1, 0.3, 1.0])
    assert left.get_ylim()[1] > top
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")


def test_runs_above_or_diverged_are_counted_at_their_rate(comparison):
    left, _ = make_figure(comparison, 0.9).axes
    assert texts(left) == [(0.1, "2"), (1.0, "3"), (1.0, "1")]


def test_without_such_runs_there_is_no_strip():
    left, right = make_figure(Comparison(outcomes(none=[(0.4, 0.5), (0.3, 0.2)])), 0.9).axes
    assert texts(left) == []
    assert CHANCE < left.get_ylim()[1] < CEILING * CHANCE
    assert "runs above or diverged" not in [text for _, text in texts(right)]


def test_curves_are_those_of_each_norms_best_rate(comparison):
    _, right = make_figure(comparison, 0.9).axes
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["none, 0.01", "mean-batch, 0.01"]
    assert right.lines[0].get_xydata().tolist() == [[1.0, 2.0], [2.0, 0.4]]
    assert [text for _, text in texts(right)] == [
        "runs above or diverged",
        "uniform guess",
        "90 % of the way to the best",
    ]


def test_a_study_in_which_all_diverged_is_drawn():
    left, right = make_figure(Comparison(outcomes(none=[(math.nan,), (math.nan,)])), 0.9).axes
    assert texts(left) == [(0.001, "1"), (0.01, "1")]
    assert "90 % of the way to the best" not in [text for _, text in texts(right)]


def test_a_picture_is_written(comparison, tmp_path):
    draw(comparison, 0.9, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="cannot write"):
        draw(comparison, 0.9, tmp_path / "nowhere" / "picture.png")


def test_without_matplotlib_one_line_names_the_extra(monkeypatch):
    check_matplotlib()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ValueError, match=r'matplotlib: pip install "wnrl\[report\]"'):
        check_matplotlib()
