"""agents.benchmarks.soak: growth is found, and what is flat is passed."""

import csv
import os
import random
import subprocess
import sys
import time

import psutil
import pytest

from agents.benchmarks.soak import Sample, Soak, complaint, growth, held, last_step, summary, watch, written

BOUNDS = {"memory": 32.0, "handles": 2, "threads": 2}


def samples(memory=lambda t: 500.0, handles=lambda t: 40, threads=lambda t: 12, count=600):
    """An hour, a sample every 6 seconds."""
    return [Sample(6.0 * t, 100 * t, memory(t), handles(t), threads(t)) for t in range(count)]


def test_what_is_flat_is_passed():
    noise = random.Random(0)
    flat = samples(
        memory=lambda t: 500 + noise.uniform(-20, 20) + 300 * (t % 50 == 0),  # a checkpoint is written
        handles=lambda t: 40 + 3 * (t % 50 == 0),
        threads=lambda t: 12 + 8 * (t % 30 < 3),  # an evaluation
    )
    assert complaint(flat, BOUNDS) is None
    assert summary(flat) == (
        "60 minutes with a full replay buffer, steps 0 to 59,900: memory "
        + "{:.1f} to {:.1f} MiB, handles 40 to 40, threads 12 to 12".format(*growth(flat)["memory"])
    )


@pytest.mark.parametrize(
    ("leak", "found"),
    [
        ({"memory": lambda t: 500 + 0.1 * t}, "memory from 509.95 to 549.95 (bound: 32 more)"),
        ({"handles": lambda t: 40 + t // 100}, "handles from 40.5 to 44.5 (bound: 2 more)"),
        ({"threads": lambda t: 12 + 3 * (t > 300)}, "threads from 12 to 15 (bound: 2 more)"),
    ],
)
def test_a_leak_is_found_by_name(leak, found):
    assert complaint(samples(**leak), BOUNDS) == f"grew in 60 minutes with a full replay buffer: {found}"
    assert complaint(samples(**leak), {"memory": 41.0, "handles": 4, "threads": 3}) is None


def test_all_that_leaks_is_in_one_line():
    line = complaint(samples(memory=lambda t: 500 + t, handles=lambda t: t), BOUNDS)
    assert "memory from" in line
    assert "handles from" in line
    assert "threads" not in line
    assert "\n" not in line


def test_a_process_is_measured():
    memory, handles, threads = held(os.getpid())
    files = [os.dup(1) for _ in range(5)]
    block = bytearray(os.urandom(64 * 2**20))
    more = held(os.getpid())
    for file in files:
        os.close(file)
    assert more[0] - memory > 0.9 * len(block) / 2**20
    assert more[1] - handles >= 5
    assert more[2] == threads >= 1


def test_children_count_too():
    before = held(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1)
    child.stdout.readline()
    after = held(os.getpid())
    child.communicate(b"\n")
    assert after[0] > before[0] + 3
    assert after[2] == before[2] + 1


@pytest.mark.parametrize(
    ("text", "step"),
    [("", 0), ("step,a\n", 0), ("step,a\n100,2\n", 100), ("step,a\n100,2\n250,3\n3", 250), ("step,a\n7", 0)],
)
def test_the_last_whole_row_counts(tmp_path, text, step):
    (tmp_path / "progress.csv").write_text(text)
    assert last_step(tmp_path / "progress.csv") == step
    assert last_step(tmp_path / "none.csv") == 0


def test_samples_are_written_one_by_one(tmp_path):
    path, rows = tmp_path / "soak.csv", iter(samples(count=3))
    stream = written(rows, path)
    next(stream), next(stream)
    assert [row["step"] for row in csv.DictReader(path.read_text().splitlines())] == ["0", "100"]


PROGRAM = """
import pathlib, sys, time
run = pathlib.Path(sys.argv[1]); run.mkdir()
for step in range(1, 10**6):
    with (run / "progress.csv").open("a") as file:
        file.write("step,x\\n" * (step == 1) + f"{1000 * step},1\\n")
    time.sleep(0.02)
"""


def test_a_run_is_watched_and_stopped(tmp_path, monkeypatch):
    program = [sys.executable, "-c", PROGRAM, str(tmp_path / "new" / "run")]
    monkeypatch.setattr(Soak, "command", property(lambda self: program))
    monkeypatch.setattr(Soak, "__post_init__", lambda self: None)
    soak = Soak(minutes=1 / 40, sample_every=0.05, replay_size=1_000, out=tmp_path / "new")
    steady = soak.samples()
    assert len(steady) > 6
    assert min(sample.step for sample in steady) >= 2_000
    assert complaint(steady, soak.bounds) is None
    last = (tmp_path / "new/run/progress.csv").read_bytes()
    assert last == (tmp_path / "new/run/progress.csv").read_bytes()  # it writes no more
    with pytest.raises(ValueError, match="is not empty: give another --out"):
        soak.samples()


def test_a_watch_that_is_stopped_ends_its_run(tmp_path):
    """Also where the next sample is an hour away."""
    program = [sys.executable, "-c", PROGRAM, str(tmp_path / "run")]
    seen = []
    start = time.monotonic()
    for sample in watch(program, tmp_path, 3_600, 7_200, lambda: len(seen) > 0):
        seen.append(sample)
    assert time.monotonic() - start < 60
    assert len(seen) == 1
    children = psutil.Process().children()
    assert not [child for child in children if str(tmp_path / "run") in child.cmdline()]


def test_too_short_a_run_is_no_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(Soak, "command", property(lambda self: [sys.executable, "-c", "import time; time.sleep(60)"]))
    with pytest.raises(ValueError, match=r"too short: 0 samples after step 2,000: give more --minutes"):
        Soak(minutes=0.005, sample_every=0.1, replay_size=1_000, out=tmp_path).samples()


def test_a_run_that_ends_by_itself_is_an_error_with_its_last_line(tmp_path):
    program = [sys.executable, "-c", "print('one'); print('error: two'); raise SystemExit(3)"]
    with pytest.raises(ValueError, match=r"the run ended with exit code 3: error: two$"):
        list(watch(program, tmp_path, 0.05, 60))


@pytest.mark.parametrize(("name", "value"), [("minutes", 0.0), ("sample_every", -1.0), ("replay_size", 10)])
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        Soak(**{name: value})
