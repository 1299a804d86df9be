"""agents.reports.report_folder"""

import pytest

from agents.reports.drawing import Chart
from agents.reports.report_folder import check_folder, write_report
from tests.agents.reports.hand_made import a_run, undrawn
from tests.agents.reports.test_analysis import study


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    monkeypatch.setattr(Chart, "drawn", undrawn)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_report_is_written_and_replaced(tmp_path):
    out = tmp_path / "deep" / "report"
    check_folder(out)
    two = study([a_run([1, 2], env=env) for env in "AB"])
    page = write_report(out, "First", two, [])
    assert page == out / "index.html"
    assert {"index.html", "report.md", "figures/curve-A.png", "figures/curve-B.svg", "tables/scores.csv"} <= {
        *files(out)
    }
    assert "tables/curves.md" not in files(out)
    assert (out / "figures" / "curve-A.png").read_bytes() == b"PNG"
    check_folder(out)
    write_report(out, "Second", study([a_run([1, 2], env="B")]), [])
    assert "Second" in page.read_text()
    assert "figures/curve-A.png" not in files(out)
    assert "figures/curve-B.png" in files(out)


def test_what_is_no_report_is_left_alone(tmp_path):
    check_folder(tmp_path)
    (tmp_path / "figures").mkdir()
    check_folder(tmp_path)
    (tmp_path / "index.html").write_text("<p>mine</p>")
    with pytest.raises(ValueError, match=r"holds index\.html, which is of no report: give another --out"):
        check_folder(tmp_path)
    write_report(tmp_path / "r", "T", study([a_run([1, 2])]), [])
    (tmp_path / "r" / "figures" / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"holds figures/notes\.txt"):
        check_folder(tmp_path / "r")
    with pytest.raises(ValueError, match="is no folder"):
        check_folder(tmp_path / "index.html")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write the report to .*: Not a directory"):
        write_report(tmp_path / "file" / "report", "T", study([a_run([1, 2])]), [])
