import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

from wnrl.checkpoints import tensor_files
from wnrl.checkpoints.checkpoints import Checkpoints, NullCheckpoints
from wnrl.checkpoints.tensor_files import CheckpointError


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    run = Checkpoints(tmp_path / "checkpoints", keep=2)
    paths = [run.save(step, {"step": step}) for step in (900, 1_000, 20_000)]
    assert sorted((tmp_path / "checkpoints").iterdir()) == paths[1:]
    assert run.latest() == (20_000, {"step": 20_000})
    assert run.damaged == []


def test_the_one_before_a_damaged_one_is_used_and_reported(tmp_path: Path) -> None:
    run = Checkpoints(tmp_path)
    older, newer = run.save(1, {"a": torch.zeros(9)}), run.save(2, {"a": torch.ones(9)})
    assert newer is not None
    newer.write_bytes(newer.read_bytes()[:-1])
    step, loaded = run.latest()
    assert (step, loaded["a"].sum()) == (1, 0)
    assert run.damaged == [newer]
    third = run.save(3, {"a": torch.zeros(9)})
    assert sorted(tmp_path.iterdir()) == [older, third]  # the damaged one does not count as kept


def test_nothing_usable_is_one_line(tmp_path: Path) -> None:
    run = Checkpoints(tmp_path / "none")
    with pytest.raises(CheckpointError, match="none was saved"):
        run.latest()
    path = run.save(1, {})
    assert path is not None
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"000000000001\.safetensors cannot be read") as raised:
        run.latest()
    assert "\n" not in str(raised.value)


def test_keep_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep must be 1 or more, got 0"):
        Checkpoints(tmp_path, keep=0)


@pytest.mark.skipif(os.name != "posix", reason="needs kill -9")
def test_a_kill_while_writing_leaves_the_former_ones(tmp_path: Path) -> None:
    program = """
        import os, signal, sys, torch
        from wnrl.checkpoints import checkpoints, tensor_files
        run = checkpoints.Checkpoints(sys.argv[1], keep=1)
        run.save(1, {"a": torch.ones(9)})
        def half_way(tensors, path, metadata):
            path.write_bytes(b"half of it")
            os.kill(os.getpid(), signal.SIGKILL)
        tensor_files.save_file = half_way
        run.save(2, {"a": torch.zeros(9)})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2  # one whole, one half
    run = Checkpoints(tmp_path, keep=1)
    step, loaded = run.latest()
    assert (step, loaded["a"].sum(), run.damaged) == (1, 9, [])
    assert list(tmp_path.iterdir()) != [run.save(2, {})]
    assert [path.name for path in tmp_path.iterdir()] == ["000000000002.safetensors"]


def test_the_former_ones_go_only_after_the_new_one_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Checkpoints(tmp_path, keep=1)
    first = run.save(1, {})

    def refuse(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(tensor_files.os, "replace", refuse)
    with pytest.raises(CheckpointError, match="Input/output error"):
        run.save(2, {})
    assert list(tmp_path.iterdir()) == [first]


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
def test_a_full_disk_is_one_line_and_leaves_the_former_ones(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    run = Checkpoints(tmp_path, keep=1)
    first = run.save(1, {"a": torch.zeros(10)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(CheckpointError, match="what was there before is untouched") as raised:
            run.save(2, {"a": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == [first]


def test_switched_off() -> None:
    off = NullCheckpoints()
    assert off.save(1, {}) is None
    assert not off.damaged
    with pytest.raises(CheckpointError, match="switched off"):
        off.latest()
