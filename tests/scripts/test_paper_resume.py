"""scripts/paper_image.py, paper_vae.py and paper_draw.py, stopped or killed within a study and given again."""

import csv
import signal
import time

import pytest

from tests.scripts.processes import call, start
from wnrl.tracking.csv_table import read_rows

STUDY = ["--examples", 300, "--seeds", 2, "--norms", "none", "weight", "--epochs", 30, "--device", "cpu"]
SCRIPTS = {
    "paper_image": ["--image-size", 12],
    "paper_vae": ["--features", 4, "--latents", 1],
    "paper_draw": ["--lstm", 8, "--latents", 2, "--steps", 3],
}
WAIT = 300  # seconds for a process to get that far, on a busy machine


def summary(out):
    """Its rows, without what the clock says."""
    with (out / "summary.csv").open(newline="") as file:
        return [{name: cell for name, cell in row.items() if name != "time/seconds"} for row in csv.DictReader(file)]


def wait_for(process, run, epochs):
    """Until a run has made so many epochs."""
    until = time.monotonic() + WAIT
    while time.monotonic() < until and process.poll() is None:
        if (run / "progress.csv").exists() and len(read_rows(run / "progress.csv").rows) >= epochs:
            return
        time.sleep(0.01)
    process.kill()
    raise AssertionError(process.communicate())


@pytest.fixture(scope="module", params=SCRIPTS)
def whole(request, tmp_path_factory):
    """A script, its arguments, and the summary and the table of a study that was not stopped."""
    out = tmp_path_factory.mktemp("whole") / "study"
    arguments = [*STUDY, *SCRIPTS[request.param]]
    assert call(request.param, *arguments, "--out", out).code == 0
    return request.param, arguments, summary(out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGTERM, 143, "stopped: the same command goes on\n"),
        (signal.SIGINT, 130, "stopped: the same command goes on\n"),
        (signal.SIGKILL, -9, ""),
    ],
)
def test_a_study_ends_as_if_it_had_not_been_stopped(whole, number, code, said, tmp_path):
    script, arguments, expected = whole
    out = tmp_path / "study"
    process = start(script, *arguments, "--out", out)
    wait_for(process, out / "weight-s0", 2)
    process.send_signal(number)
    printed, errors = process.communicate(timeout=WAIT)
    assert process.returncode == code, (printed, errors)
    assert printed.endswith(said)
    assert printed.startswith("1 of 4: none, seed 0, epoch 30: ")
    assert not (out / "summary.csv").exists()
    done = (out / "none-s0" / "progress.csv").stat().st_mtime_ns
    assert call(script, *arguments, "--out", out).code == 0
    assert summary(out) == expected
    assert (out / "none-s0" / "progress.csv").stat().st_mtime_ns == done


@pytest.mark.slow
def test_parallel_runs_whose_parent_is_killed_end_with_it_and_go_on(whole, tmp_path):
    script, arguments, expected = whole
    out = tmp_path / "study"
    arguments = [*arguments, "--out", out, "--jobs", 2]
    process = start(script, *arguments)
    wait_for(process, out / "weight-s0", 2)
    process.kill()
    process.communicate(timeout=WAIT)
    again = start(script, *arguments)
    printed, errors = again.communicate(timeout=WAIT)
    assert (again.returncode, errors) == (0, "")
    assert printed.count(" of 4: ") == 4
    assert summary(out) == expected
