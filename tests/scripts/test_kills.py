"""Runs that are killed at any moment, most of all while a checkpoint is written, and go on."""

import csv
import os
import random
import signal
import time

import pytest

from tests.scripts.processes import call
from wnrl.checkpoints.checkpoints import Checkpoints
from wnrl.checkpoints.tensor_files import read_model

KILLS = 50
BREAKOUT = ["--game", "Breakout", "--device", "cpu", "--num-envs", 4, "--replay-size", 40_000, "--eval-interval", 0]
BREAKOUT += ["--learning-starts", 20_000, "--batch-size", 4, "--train-interval", 100, "--log-interval", 100]


def forked(*arguments):
    """The training command in a copy of this process, which has imported everything already."""
    if child := os.fork():
        return child
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(call("train_dqn", *arguments).code)
    finally:
        os._exit(99)


def newest(folder):
    """The step of the newest checkpoint."""
    return max(int(path.stem) for path in folder.glob("checkpoints/*.safetensors") if path.stem.isdigit())


def unfinished(folder):
    """Files that a writer has not finished."""
    return [path for path in folder.rglob("*") if ".tmp" in path.name]


@pytest.mark.slow
def test_a_run_with_a_large_replay_survives_50_kills(tmp_path):
    """Each time the newest checkpoint and the model are whole, and the run goes on from there."""
    folder, draw, hits = tmp_path / "run", random.Random(0), 0
    assert call("train_dqn", *BREAKOUT, "--steps", 20_000, "--run-dir", folder).code == 0
    size = max(path.stat().st_size for path in folder.glob("checkpoints/*.safetensors"))
    assert size > 100e6
    last = 20_000
    for _ in range(KILLS):
        child = forked("--resume", folder, "--steps", 10_000_000, "--checkpoint-interval", 100)
        begun = time.monotonic()
        while newest(folder) == last and time.monotonic() < begun + 60:  # it goes on, and has written one
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 1.5))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        hits += bool(unfinished(folder))
        step, _ = Checkpoints(folder / "checkpoints").latest()
        assert step == newest(folder) > last
        read_model(folder / "model")
        last = step
    assert hits >= KILLS // 5  # they were amid a file
    assert call("train_dqn", "--resume", folder, "--steps", last + 100).code == 0
    assert not unfinished(folder)
    with (folder / "progress.csv").open(newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == sorted(set(steps))
    print(f"{KILLS} kills, {hits} of them while a file was written; a checkpoint has {size / 1e6:.0f} MB")
