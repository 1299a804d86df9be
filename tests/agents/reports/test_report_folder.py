"""agents.reports.report_folder"""

import errno
from contextlib import contextmanager

import pytest

from agents.reports import report_folder
from agents.reports.drawing import Chart
from agents.reports.report_folder import check_folder, write_report
from tests.agents.reports.hand_made import a_run, undrawn
from tests.agents.reports.test_analysis import study
from wnrl.checkpoints.files import replacing


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


@pytest.mark.parametrize("written", [0, 1, 4])
def test_after_a_full_disk_the_same_folder_can_be_written(tmp_path, monkeypatch, written):
    """By the number of files that were written before."""
    out = tmp_path / "report"
    two = study([a_run([1, 2], env=env) for env in "AB"])
    places = iter(range(written))

    @contextmanager
    def filling(path):
        with replacing(path) as temporary:
            yield temporary
            if next(places, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(report_folder, "replacing", filling)
        with pytest.raises(ValueError, match=r"cannot write the report to .*: No space left on device"):
            write_report(out, "First", two, [])
    assert len(files(out)) == written
    check_folder(out)
    write_report(out, "Second", two, [])
    write_report(tmp_path / "other", "Second", two, [])
    assert files(out) == files(tmp_path / "other")


@pytest.mark.parametrize("left", [".index.html.0123abcd.tmp", "tables/.curves.csv.0123abcd.tmp"])
def test_what_a_killed_report_left_is_removed(tmp_path, left):
    write_report(tmp_path, "T", study([a_run([1, 2])]), [])
    (tmp_path / left).write_bytes(b"half")
    check_folder(tmp_path)
    write_report(tmp_path, "T", study([a_run([1, 2])]), [])
    check_folder(tmp_path)
    assert left not in files(tmp_path)


@pytest.mark.parametrize(
    "mine", ["figures/curve-A.png", "report.md", ".notes.md.0123abcd.tmp", "index.html", "files.txt", "figures/a/b.png"]
)
def test_files_that_no_list_has_are_of_no_report(tmp_path, mine):
    (tmp_path / mine).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / mine).write_text('<meta name="generator" content="wnrl report">' if "html" in mine else "")
    with pytest.raises(ValueError, match=f"holds {mine}, which is of no report"):
        check_folder(tmp_path)


@pytest.mark.parametrize("mine", ["figures/mine.png", "tables/notes.md", "figures/.mine.png.0123abcd.tmp"])
def test_a_file_of_ones_own_in_a_report_is_neither_overwritten_nor_removed(tmp_path, mine):
    one = study([a_run([1, 2])])
    write_report(tmp_path, "T", one, [])
    (tmp_path / mine).write_bytes(b"mine")
    with pytest.raises(ValueError, match=f"holds {mine}, which is of no report"):
        check_folder(tmp_path)
    write_report(tmp_path, "T", one, [])  # as where it came after the check
    assert (tmp_path / mine).read_bytes() == b"mine"


def test_a_list_that_a_killed_report_left_half_written_is_no_obstacle(tmp_path):
    (tmp_path / ".files.txt.0123abcd.tmp").write_bytes(b"Fi")
    check_folder(tmp_path)
    write_report(tmp_path, "T", study([a_run([1, 2])]), [])
    assert ".files.txt.0123abcd.tmp" not in files(tmp_path)


def test_a_list_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "files.txt").mkdir()
    with pytest.raises(ValueError, match=r"cannot read .*files\.txt \(Is a directory\): give another --out"):
        check_folder(tmp_path)


def test_nothing_is_written_where_a_link_leads(tmp_path):
    out = tmp_path / "report"
    write_report(out, "T", study([a_run([1, 2])]), [])
    (out / "figures").rename(tmp_path / "pictures")
    (out / "figures").symlink_to(tmp_path / "pictures")
    with pytest.raises(ValueError, match="holds figures, which is of no report"):
        check_folder(out)


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


def test_names_outside_unicode_are_escaped(tmp_path):
    write_report(tmp_path, "T\udcfe", study([a_run([1, 2], name="x\udcff")]), ["note on x\udcff"])
    assert "<h1>T\\udcfe</h1>" in (tmp_path / "index.html").read_text("utf-8")
    assert "\nx\\udcff," in (tmp_path / "tables" / "runs.csv").read_text("utf-8")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write the report to .*: Not a directory"):
        write_report(tmp_path / "file" / "report", "T", study([a_run([1, 2])]), [])
