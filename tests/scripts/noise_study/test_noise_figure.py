import math

import pytest
from noise_study.companies import Deviation
from noise_study.noise_figure import draw, make_figure
from noise_study.noise_table import Study

from agents.reports.normalizer_styles import style_of
from tests.scripts.noise_study.test_noise_table import rows_of


def test_medians_are_lines_in_the_colours_of_their_normalizers():
    q, targets, during, scores = make_figure(Study(rows_of("none", "batch"))).axes
    for axes in (q, targets):
        line = axes.lines[0]
        assert line.get_xdata().tolist() == [8, 64, 512]
        assert line.get_ydata().tolist() == pytest.approx([1.5 / size**0.5 for size in (8, 64, 512)])
        assert line.get_color() == style_of("batch").colour
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert [text.get_text() for text in axes.texts] == ["0: none"]  # which has no place on the axis
    assert [line.get_label() for line in scores.lines] == ["none", "batch"]
    assert during.lines[1].get_xydata().tolist() == [[1_000, pytest.approx(3 / 8)], [2_000, pytest.approx(1.5 / 8)]]
    assert scores.lines[0].get_ydata().tolist() == [1_500, 3_000]


def test_a_study_without_noise_is_drawn():
    q, *_ = make_figure(Study(rows_of("none", "weight", strength=0.0))).axes
    assert [text.get_text() for text in q.texts] == ["0: none, weight"]


def test_a_study_without_a_number_is_drawn(tmp_path):
    draw(Study(rows_of("batch", strength=math.nan)), tmp_path / "noise.png")
    q, targets, *_ = make_figure(Study(rows_of("none", "batch", strength=math.nan))).axes
    for axes in (q, targets):
        assert [text.get_text() for text in axes.texts] == ["0: none; no number: batch"]
        assert axes.get_yscale() == "linear"


def test_targets_alone_may_have_no_number(tmp_path):
    lost = Deviation(math.nan, math.nan)
    rows = [row._replace(noise=row.noise._replace(target=lost)) for row in rows_of("batch")]
    draw(Study(rows), tmp_path / "noise.png")


def test_both_files_are_written(tmp_path):
    study = Study(rows_of("batch", seeds=1))
    draw(study, tmp_path / "noise.png")
    assert (tmp_path / "noise.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "noise.svg").read_text()
    with pytest.raises(ValueError, match="cannot write"):
        draw(study, tmp_path / "nowhere" / "noise.png")
