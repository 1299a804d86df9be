import base64
import re

import pytest

from agents.watching.inline_video import InlineVideo


def test_a_page_holds_the_whole_file():
    html = InlineVideo(b"\x00film", (3.0,))._repr_html_()
    assert html.startswith("<video controls ")
    (data,) = re.findall(r'src="data:video/mp4;base64,([^"]+)"', html)
    assert base64.b64decode(data) == b"\x00film"


def test_it_can_be_written(tmp_path):
    video = InlineVideo(b"film")
    assert video.save(str(tmp_path / "a.mp4")).read_bytes() == b"film"
    with pytest.raises(ValueError, match=r"a path that ends in \.mp4, got .*a\.gif"):
        video.save(tmp_path / "a.gif")


def test_without_a_notebook_it_says_what_it_is():
    assert repr(InlineVideo(b"0" * 2_000, (3.0, 1.5))).startswith("InlineVideo(2 kB, scores of whole games: 3, 1.5)")
    assert "games: none)" in repr(InlineVideo(b""))
