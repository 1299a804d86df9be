"""agents.benchmarks.checkpoint_stops: a buffer that is full, written beside steps and then by a run that waits."""

import time

import pytest
import torch

from agents.benchmarks import checkpoint_stops as module
from agents.benchmarks.commands import CheckpointStops
from wnrl.checkpoints.tensor_files import read_checkpoint


def test_a_full_buffer_is_written_beside_steps_and_by_a_run_that_waits(tmp_path, monkeypatch):
    written = []

    def write(path, state):
        time.sleep(0.1)
        real(path, state)
        written.append(read_checkpoint(path))

    real = module.write_checkpoint
    monkeypatch.setattr(module, "write_checkpoint", write)
    rows = module.checkpoint_stops(num_envs=2, capacity=300, rounds=2, device=torch.device("cpu"), folder=tmp_path)
    assert len(rows) == 2
    assert len(written) == 4
    beside, waiting = written[:2]
    assert sum(map(len, beside["frames"])) == len(waiting["frames"]) >= 300
    assert waiting["added"] > beside["added"]  # steps were stored meanwhile
    for row in rows:
        assert row["bytes"] > 300 * 84 * 84
        assert row["stop"] < 0.1 <= min(row["written"], row["waiting"])
        assert 0 < row["longest"] < 0.1
    assert not list(tmp_path.iterdir())


def test_the_table_is_in_gigabytes_and_seconds():
    row = {"bytes": 2.5e9, "stop": 0.0123, "longest": 0.5, "written": 10.0, "waiting": 12.0}
    _, line = module.stop_table([row]).splitlines()
    assert line.split() == ["2.50", "0.012", "0.500", "10.000", "12.000"]


def test_sizes_are_at_least_1():
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        CheckpointStops(capacity=0)
