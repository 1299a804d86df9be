import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
from paper.experiment import Curve
from paper.loop import PaperRun
from paper.summary import make_figure, measured, table, write_summary

from tests.scripts.paper.toy import ToySettings

COLUMNS = "step,test/error,train/loss,time/seconds\n"


@dataclass(frozen=True)
class Shares(ToySettings):
    curves: ClassVar[tuple[Curve, ...]] = (
        Curve("test/error", "test error", percent=True, log=True),
        Curve("train/loss", "training loss"),
    )


@dataclass(frozen=True)
class Bounds(ToySettings):
    curves: ClassVar[tuple[Curve, ...]] = (Curve("train/loss", "bound", higher_is_better=True),)
    published: ClassVar[dict[str, str]] = {}


def made(settings, rows):
    """Runs whose progress.csv has these lines, by norm and seed."""
    runs = []
    for (norm, seed), lines in rows.items():
        run = PaperRun(settings, norm, seed)
        run.folder.mkdir(parents=True)
        (run.folder / "progress.csv").write_text(COLUMNS + "".join(f"{line}\n" for line in lines))
        runs.append(measured(run))
    return runs


@pytest.fixture
def settings(tmp_path):
    return Shares(out=tmp_path, seeds=2)


@pytest.fixture
def runs(settings):
    return made(
        settings,
        {
            ("none", 0): ["1,0.5,2,1", "2,0.25,1.5,2"],
            ("none", 1): ["1,0.75,3,1", "2,0.5,2.5,4"],
            ("weight", 0): ["1,0.125,1,3", "2,0.0625,0.5,6"],
            ("weight", 1): ["1,0.25,1,3", "2,0.1875,0.25,6.5"],
        },
    )


def test_a_run_is_its_rows(runs, settings):
    assert runs[0].run == PaperRun(settings, "none", 0)
    assert runs[0].epochs[1] == {"step": 2, "test/error": 0.25, "train/loss": 1.5, "time/seconds": 2}
    assert runs[0].curve("test/error") == [0.5, 0.25]


@pytest.mark.parametrize("text", ["", COLUMNS, "another,file\n1,2\n"])
def test_a_run_without_rows_is_named(text, settings):
    run = PaperRun(settings, "none", 0)
    run.folder.mkdir(parents=True)
    (run.folder / "progress.csv").write_text(text)
    with pytest.raises(ValueError, match=r"none-s0/progress.csv has no rows: remove .*none-s0, and the run "):
        measured(run)


def test_the_summary_to_the_letter(runs, tmp_path):
    write_summary(runs[:1] + runs[3:], tmp_path / "summary.csv")
    assert (tmp_path / "summary.csv").read_text() == (
        "experiment,data,scale,norm,seed,epoch,test/error,train/loss,time/seconds\n"
        "toy,digits,small,none,0,1,0.5,2,1\n"
        "toy,digits,small,none,0,2,0.25,1.5,2\n"
        "toy,digits,small,weight,1,1,0.25,1,3\n"
        "toy,digits,small,weight,1,2,0.1875,0.25,6.5\n"
    )


def test_a_metric_that_a_run_lacks_is_an_empty_cell(settings, tmp_path):
    runs = made(settings, {("none", 0): ["1,0.5,,1"], ("weight", 0): ["1,0.5,2,1"]})
    write_summary(runs, tmp_path / "summary.csv")
    first, second = (tmp_path / "summary.csv").read_text().splitlines()[1:]
    assert first == "toy,digits,small,none,0,1,0.5,1,"
    assert second == "toy,digits,small,weight,0,1,0.5,1,2"


def test_a_summary_is_replaced_whole(runs, tmp_path):
    path = tmp_path / "summary.csv"
    path.write_text("old\n" * 1000)
    write_summary(runs, path)
    assert len(path.read_text().splitlines()) == 9
    assert {each.name for each in tmp_path.iterdir() if each.is_file()} == {"summary.csv"}


def test_the_table_to_the_letter(runs, settings):
    assert table(settings, runs).splitlines() == [
        "| norm | test error, % | training loss | seconds of training | paper |",
        "| --- | --- | --- | --- | --- |",
        "| none | 37.5 (25 to 50) | 2 (1.5 to 2.5) | 3 |  |",
        "| weight | 12.5 (6.25 to 18.8) | 0.375 (0.25 to 0.5) | 6.25 | 8.46 |",
    ]


@pytest.mark.parametrize(
    ("kind", "numbers", "cell"),
    [
        (Shares, ("nan", "1"), "inf (1 to inf)"),
        (Shares, ("nan", "inf"), "diverged"),
        (Bounds, ("nan", "-2"), "-inf (-inf to -2)"),
        (Bounds, ("nan", "-inf"), "diverged"),
    ],
)
def test_a_diverged_run_counts_as_infinitely_bad(kind, numbers, cell, tmp_path):
    settings = kind(out=tmp_path, seeds=2, norms=("none",))
    runs = made(settings, {("none", seed): [f"1,0.5,{number},1"] for seed, number in enumerate(numbers)})
    assert f"| {cell} | 1 |" in table(settings, runs).splitlines()[2]
    make_figure(settings, runs).canvas.draw()


def test_the_figure_shows_medians_and_ranges_by_epoch(runs, settings):
    left, right = make_figure(settings, runs).axes
    none, weight = left.lines
    assert (none.get_label(), weight.get_label()) == ("none", "weight")
    assert (none.get_xdata().tolist(), none.get_ydata().tolist()) == ([1, 2], [62.5, 37.5])
    assert weight.get_ydata().tolist() == [18.75, 12.5]
    assert (left.get_yscale(), right.get_yscale()) == ("log", "linear")
    assert (left.get_ylabel(), right.get_ylabel()) == ("test error, %", "training loss")
    band = right.collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in band.tolist()} == {(1, 2), (1, 3), (2, 1.5), (2, 2.5)}


def test_a_curve_ends_where_its_shortest_run_does(settings):
    runs = made(settings, {("none", 0): ["1,0.5,2,1", "2,0.5,2,1"], ("none", 1): ["1,0.5,nan,1"]})
    left, _ = make_figure(settings, runs).axes
    assert left.lines[0].get_xdata().tolist() == [1]


@pytest.mark.parametrize("error", ["0", "nan"])
def test_a_logarithmic_axis_without_values_above_0_is_linear(error, settings):
    runs = made(settings, {("none", 0): [f"1,{error},2,1"]})
    figure = make_figure(settings, runs)
    assert figure.axes[0].get_yscale() == "linear"
    figure.canvas.draw()


def test_nan_is_read_back_as_nan(settings):
    (run,) = made(settings, {("none", 0): ["1,nan,2,1"]})
    assert math.isnan(run.curve("test/error")[0])
