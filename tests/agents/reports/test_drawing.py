"""agents.reports.drawing"""

import importlib.util
import re

import pytest

from agents.reports.charts import charts
from agents.reports.drawing import DARK, LIGHT, check_drawing, file_name
from agents.reports.normalizer_styles import STYLES
from tests.agents.reports.hand_made import a_run
from tests.agents.reports.test_analysis import study


def test_files():
    (chart,) = charts(study([a_run([1, 2], norm="weight")]))["profiles"]
    drawn = chart.drawn()
    assert drawn.png.startswith(b"\x89PNG")
    svg, dark = drawn.svg.decode(), drawn.dark_svg.decode()
    assert re.search(r"<svg[^>]*viewBox", svg)
    assert all(colour in svg and colour not in dark for colour in LIGHT)
    assert all(colour in dark and colour not in svg for colour in DARK)
    assert svg.count(STYLES["weight"].colour) == dark.count(STYLES["weight"].colour) > 0
    assert not {*LIGHT, *DARK} & {style.colour for style in STYLES.values()}


def test_names_are_text_and_no_markup():
    runs = [a_run([1, 2], env="<b>&$x_1$/../..", agent="a$b$")]
    (chart,) = charts(study(runs))["curves"]
    drawn = chart.drawn()
    assert b"<b>" not in drawn.svg
    assert drawn.svg == chart.drawn().svg  # the same again
    assert drawn.name == "curve--b---x-1"
    assert "/" not in file_name("../../etc")


def test_letters_that_no_font_has_are_no_warning(recwarn):
    (chart,) = charts(study([a_run([1, 2], env="環境")]))["curves"]
    assert chart.drawn().name == "curve-環境"
    assert not recwarn.list


def test_a_long_name_of_any_letters_is_that_of_a_file(tmp_path):
    assert file_name("環" * 90) == "環" * 33
    (tmp_path / f".{file_name('é' * 300)}.png.0123abcd.tmp").touch()


def test_what_is_missing_is_named(monkeypatch):
    check_drawing()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'needs matplotlib and scipy: pip install "wnrl\[report\]"'):
        check_drawing()
