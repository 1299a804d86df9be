"""agents.sweeps.trial_process"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents.sweeps import trial_process
from agents.sweeps.trial_process import (
    Progress,
    TrialProcess,
    breakdown_of,
    end_of,
    ended,
    last_line,
    made_ready,
    progress_of,
    train_trial,
)
from agents.training.run_lock import RunLock
from tests.agents.reports.hand_made import curve, write_run

OWN = {"threads": 1, "resumable": True, "steps": 1_000}
SLEEPS = "import signal, sys, time; print('up', flush=True); time.sleep(60)"


@pytest.fixture
def call(monkeypatch):
    """Sets the program that a trial runs."""
    return lambda program: monkeypatch.setattr(trial_process, "CALL", program)


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_it_gets_threads_and_arguments_and_its_output_is_kept(tmp_path, call):
    call("import agents, os, sys; print(os.environ['OMP_NUM_THREADS'], sys.argv[1:])")
    output = tmp_path / "output" / "a.txt"
    for _ in range(2):
        with TrialProcess(["train", "dqn"], output, 3) as process:
            wait_for(lambda: not process.running)
            process.check()
    assert output.read_text().splitlines() == ["3 ['train', 'dqn']"] * 2


def test_what_fails_says_why(tmp_path, call):
    call("print('dqn: error: no such thing'); raise SystemExit(2)")
    config = {"arguments": [], "folder": tmp_path / "run", "output": tmp_path / "out.txt", **OWN}
    with pytest.raises(RuntimeError, match=r"^exit code 2: dqn: error: no such thing$"):
        train_trial(config, print, interval=0.05)
    assert last_line(tmp_path / "out.txt") == "dqn: error: no such thing"


def test_each_row_is_reported_once_and_what_the_report_raises_stops_the_run(tmp_path, call):
    call("import signal, time; signal.signal(signal.SIGUSR1, lambda *_: exit(print('asked', flush=True)))\n" + SLEEPS)
    write_run(tmp_path / "run", curve([1.5, 2.5]))
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "000000000200.safetensors").touch()
    seen = []

    def report(progress):
        seen.append(progress)
        wait_for(lambda: "up" in (tmp_path / "out.txt").read_text())
        if len(seen) == 2:
            raise SystemExit
        write_run(tmp_path / "run", curve([1.5, 2.5, 3.5]))

    config = {"arguments": [], "folder": tmp_path / "run", "output": tmp_path / "out.txt", **OWN}
    with pytest.raises(SystemExit):
        train_trial(config, report, interval=0.05)
    assert seen == [Progress(200, 2.5), Progress(300, 3.5)]
    assert last_line(tmp_path / "out.txt") == "asked"


def test_progress(tmp_path):
    assert progress_of(tmp_path) is None
    write_run(tmp_path, [{"step": 1, "rollout/ep_rew_mean": 3.0}, {"step": 2, "train/loss": 1.0}])
    assert progress_of(tmp_path) == Progress(2, 3.0)
    write_run(tmp_path, [{"step": 1, "train/loss": 3.0}])
    assert progress_of(tmp_path) == Progress(1, None)
    write_run(tmp_path, [])
    assert progress_of(tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="Linux asks a process to stop when its parent is killed")
def test_a_run_stops_when_its_worker_is_killed(tmp_path):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom agents.sweeps import trial_process\n"
        f"trial_process.CALL = {'import os; print(os.getpid(), flush=True); ' + SLEEPS!r}\n"
        "process = trial_process.TrialProcess([], Path(sys.argv[1]), 1)\nprint('begun', flush=True)\ntime.sleep(60)\n"
    )
    output = tmp_path / "out.txt"
    worker = subprocess.Popen([sys.executable, "-c", program, output], stdout=subprocess.PIPE, cwd=os.getcwd())
    worker.stdout.readline()
    wait_for(lambda: output.read_text().endswith("up\n"))
    number = int(output.read_text().split()[0])
    worker.send_signal(signal.SIGKILL)
    worker.communicate()

    def gone():
        status = Path(f"/proc/{number}/stat")
        try:
            return status.read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_for(gone)


def a_run(folder, step, checkpoint=False):
    write_run(folder, curve([1.0]))
    (folder / "model.json").write_text(f'{{"step": {step}}}')
    (folder / "checkpoints").mkdir(exist_ok=True)
    if checkpoint:
        (folder / "checkpoints" / f"{step:012}.safetensors").touch()


@pytest.mark.parametrize(
    ("step", "checkpoint", "resumable", "ready", "stays"),
    [
        (100, True, True, True, True),  # goes on
        (100, False, True, True, False),  # was killed before its first checkpoint
        (100, True, False, True, False),
        (300, False, False, False, True),  # has finished
        (304, True, True, False, True),
    ],
)
def test_a_folder_is_made_ready(tmp_path, step, checkpoint, resumable, ready, stays):
    folder = tmp_path / "run"
    assert made_ready(folder, resumable=resumable, steps=300)
    a_run(folder, step, checkpoint)
    assert made_ready(folder, resumable=resumable, steps=300) == ready
    assert folder.exists() == stays


def test_a_run_that_was_stopped_in_its_last_evaluation_has_not_ended(tmp_path):
    folder = tmp_path / "run"
    a_run(folder, 300, checkpoint=True)
    assert ended(folder, 300)
    header = b'{"/evaluation/played/step":{}}'
    (folder / "checkpoints" / f"{300:012}.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert not ended(folder, 300)
    assert made_ready(folder, resumable=True, steps=300)


def test_a_run_whose_learning_broke_down_is_not_started_again(tmp_path):
    folder = write_run(tmp_path / "run", curve([9, 4, 6]), broke_down=350)
    assert not made_ready(folder, resumable=True, steps=1_000)
    assert folder.exists()
    assert (ended(folder, 1_000), breakdown_of(folder)) == (True, 350)
    assert end_of(folder, 1_000) == Progress(350, None, broke_down=True)
    write_run(folder, curve([9, 4, 6]))
    assert (ended(folder, 1_000), breakdown_of(folder)) == (False, None)
    assert end_of(folder, 1_000) == Progress(1_000, 6.0)
    assert breakdown_of(tmp_path / "none") is None


def test_a_trial_whose_learning_breaks_down_has_ended(tmp_path, call):
    """Others that end with exit code 1 are started again."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom agents.training.run_directory import RunDirectory\n"
        "run = RunDirectory.create(Path(sys.argv[1]), {'agent': 'dqn', 'settings': {}})\n"
        "if sys.argv[2] == 'breaks':\n    run.note_breakdown(70)\n"
        "print('learning broke down before step 70')\nraise SystemExit(1)"
    )
    call(program)
    for name in ("breaks", "fails"):
        folder = tmp_path / name
        config = {"arguments": [str(folder), name], "folder": folder, "output": tmp_path / "out.txt", **OWN}
        if name == "breaks":
            train_trial(config, print, interval=0.05)
            assert breakdown_of(folder) == 70
        else:
            with pytest.raises(RuntimeError, match="exit code 1"):
                train_trial(config, print, interval=0.05)


def test_a_run_that_is_still_stopping_is_waited_for(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    a_run(folder, 100, checkpoint=True)
    lock = RunLock(folder)
    waits = []
    monkeypatch.setattr(time, "sleep", lambda seconds: waits.append(seconds) or lock.release())
    assert made_ready(folder, resumable=True, steps=300)
    assert waits == [0.5]
    lock = RunLock(folder)
    monkeypatch.setattr(trial_process, "PATIENCE", 0.0)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(ValueError, match="process"):
        made_ready(folder, resumable=False, steps=300)
    lock.release()
    assert folder.exists()
