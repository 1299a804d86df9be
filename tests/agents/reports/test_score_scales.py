"""agents.reports.score_scales"""

import sys

import numpy as np
import pytest

from agents.reports.score_scales import GIVEN, HUMAN, RELATIVE, default_threshold, human_scale, scale_of

FINALS = [np.array([2.0, 4.0]), np.array([12.0])]


def test_atari_is_human_normalized():
    scale = scale_of("Breakout", FINALS, {})
    assert (scale.low, scale.high, scale.source) == (1.7, 30.5, HUMAN)
    assert scale(np.array([1.7, 30.5, 16.1])) == pytest.approx([0, 1, 0.5])
    assert human_scale("SpaceInvaders").high == 1668.7
    assert human_scale("CartPole-v1") is None
    assert human_scale("Chain") is None
    assert human_scale("Adventure") is None  # which no one has measured


def test_others_are_scaled_by_all_runs_or_by_what_is_given():
    scale = scale_of("Task", FINALS, {})
    assert (scale.low, scale.high, scale.source) == (2, 12, RELATIVE)
    assert scale_of("Task", FINALS, {"Task": (0, 20)})(np.array([5.0])) == 0.25
    assert scale_of("Breakout", FINALS, {"Breakout": (0, 10)}).source == GIVEN
    assert scale_of("Task", [np.full(3, 7.0)], {})(np.array([7.0])) == 0


def test_a_metric_that_is_no_return_is_not_human_normalized():
    scale = scale_of("Breakout", FINALS, {}, returns=False)
    assert (scale.low, scale.high, scale.source) == (2, 12, RELATIVE)
    assert scale_of("Breakout", FINALS, {"Breakout": (0, 10)}, returns=False).source == GIVEN


def test_thresholds():
    assert default_threshold("Breakout") == (30.5, "human score")
    assert default_threshold("CartPole-v1") == (475, "Gymnasium's")
    assert default_threshold("Chain") is None
    assert default_threshold("not-there-v9") is None


def test_an_id_that_names_a_module_imports_none(tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    assert default_threshold("stranger:Maze-v0") is None
    assert "stranger" not in sys.modules
