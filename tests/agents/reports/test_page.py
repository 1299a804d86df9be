"""agents.reports.page"""

import base64
import re
from html.parser import HTMLParser

import pytest

from agents.reports.charts import charts
from agents.reports.page import markdown, page, summary
from agents.reports.report_folder import tables_of
from tests.agents.reports.hand_made import a_run
from tests.agents.reports.test_analysis import study

EVIL = '<script>alert(1)</script>"&'


@pytest.fixture(scope="module")
def analysis():
    runs = [a_run([1, s + i], seed=s, norm=n, env=e, agent=EVIL) for e in "AB" for i, n in enumerate(["none", "weight"])
            for s in range(3)]  # fmt: skip
    return study(runs, thresholds={"A": 1.0})


@pytest.fixture(scope="module")
def html(analysis):
    figures = {}
    for name, found in charts(analysis).items():
        first = next((chart.drawn() for chart in found), None)  # stands for the others, whose drawing takes time
        figures[name] = [first._replace(name=chart.name, description=chart.description) for chart in found]
    return page(f"A {EVIL}", analysis, figures, tables_of(analysis), [f"note {EVIL}"])


class Reader(HTMLParser):
    """Tags in order, with their attributes; raises where one is not closed."""

    def __init__(self):
        super().__init__()
        self.tags, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_runs_nothing(html):
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    tags = [tag for tag, _ in reader.tags]
    assert not {"script", "link", "iframe", "object", "form"} & {*tags}
    sources = [value for _, a in reader.tags for name, value in a.items() if name in ("src", "srcset", "data")]
    assert sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert "http" not in re.sub(r'base64,[^"]*|http-equiv', "", html)
    assert "url(" not in html
    assert all(a["href"][1:] in html for tag, a in reader.tags if tag == "a")
    svg = base64.b64decode(sources[0].partition(",")[2]).decode()
    assert "<script" not in svg


def test_figures_are_described_and_have_a_dark_twin(html, analysis):
    reader = Reader()
    reader.feed(html)
    images = [a for tag, a in reader.tags if tag == "img"]
    assert len(images) == sum(map(len, charts(analysis).values())) == 2 + 4 + 1 + 3
    assert all(len(image["alt"]) > 20 for image in images)
    assert len([1 for tag, a in reader.tags if tag == "source" and "dark" in a["media"]]) == len(images)


def test_sections_and_notes(html):
    assert re.findall(r"<h2>(.*?)</h2>", html) == [
        *("Final scores", "Learning curves", "Over several environments", "Performance profiles"),
        *("Probability of improvement", "Steps and wall time", "Settings that differ", "Runs"),
    ]
    assert "<li>note &lt;script&gt;" in html


def test_markdown(analysis):
    text = markdown("Title", analysis, tables_of(analysis), ["careful"])
    assert text.startswith(f"# Title\n\n{summary(analysis)}\n\n- careful\n\n## Final scores\n\n")
    assert text.count("\n| --- |") == 5


def test_markdown_has_no_html_and_no_heading_of_ones_own(analysis):
    text = markdown(f"A\n# {EVIL}", analysis, tables_of(analysis), [f"on\n\n{EVIL}"])
    assert text.startswith("# A # \\<script>")
    assert not re.search(r"(?<!\\)<", text)
    assert "- on \\<script>" in text


def test_summary(analysis):
    assert summary(analysis) == (
        "12 runs in 4 curves, on 2 environments, with 3 seeds a curve; the score is rollout/ep_rew_mean."
    )
    assert "1 run in 1 curve, on 1 environment, with 1 seed a curve" in summary(study([a_run([1, 2])]))
