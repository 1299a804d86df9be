import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

from wnrl.checkpoints import files, tensor_files
from wnrl.checkpoints.checkpoints import Checkpoints, NullCheckpoints
from wnrl.checkpoints.files import CheckpointError, UnreadableError


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    run = Checkpoints(tmp_path / "checkpoints", keep=2)
    paths = [run.save(step, {"step": step}) for step in (900, 1_000, 20_000)]
    assert sorted((tmp_path / "checkpoints").iterdir()) == paths[1:]
    assert run.latest() == (20_000, {"step": 20_000})
    assert run.damaged == []


def test_one_of_an_earlier_step_than_those_that_are_there_stays(tmp_path: Path) -> None:
    paths = [Checkpoints(tmp_path, keep=2).save(step, {"step": step}) for step in (10, 20, 5)]
    assert set(tmp_path.iterdir()) == set(paths)
    last = Checkpoints(tmp_path, keep=2).save(30, {})
    assert set(tmp_path.iterdir()) == {paths[1], last}


@pytest.mark.parametrize("step", [-1, 10**18])
def test_a_step_that_would_not_be_found_again_is_refused(tmp_path: Path, step: int) -> None:
    with pytest.raises(ValueError, match=f"a step is at least 0 .* got {step}"):
        Checkpoints(tmp_path).save(step, {})
    assert Checkpoints(tmp_path).save(10**18 - 1, {}) is not None
    assert Checkpoints(tmp_path).last_step == 10**18 - 1


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


def test_shapes_are_those_of_the_newest_whose_header_is_whole(tmp_path: Path) -> None:
    run = Checkpoints(tmp_path)
    older, newer = run.save(1, {"a": torch.zeros(9)}), run.save(2, {"a": torch.ones(7, 2)})
    assert older is not None
    assert newer is not None
    newer.write_bytes(newer.read_bytes()[:-1] + b"!")  # of a tensor, which is not read
    assert run.shapes() == {"/a": (7, 2)}
    newer.write_bytes(newer.read_bytes()[:40])
    assert run.shapes() == {"/a": (9,)}
    older.write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"no checkpoint to resume from in {tmp_path}: .*; .*cannot be read"):
        run.shapes()


def test_nothing_usable_is_one_line(tmp_path: Path) -> None:
    run = Checkpoints(tmp_path / "none")
    for look in (run.latest, run.shapes):
        with pytest.raises(CheckpointError, match="none was saved"):
            look()
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
        def half_way(path, tensors, metadata):
            path.write_bytes(b"half of it")
            os.kill(os.getpid(), signal.SIGKILL)
        tensor_files.write_tensors = half_way
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

    monkeypatch.setattr(files.os, "replace", refuse)
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


def test_a_later_format_and_an_unreadable_file_stop_and_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is damaged: what came before is not taken instead, and nothing is deleted."""
    run = Checkpoints(tmp_path)
    run.save(1, {})
    with monkeypatch.context() as later:
        later.setattr(tensor_files, "_VERSION", 2)
        newer = run.save(2, {})
    assert newer is not None
    with pytest.raises(UnreadableError, match=r"2\.safetensors is of format 2, later than this version's 1: update"):
        run.latest()
    opened = os.open

    def refuse(path: Any, *rest: Any, **more: Any) -> int:
        if str(path) == str(newer):
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest, **more)

    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(UnreadableError, match=r"cannot read .*2\.safetensors: Permission denied$"):
        run.latest()
    assert run.damaged == []
    run.save(3, {})
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "000000000002.safetensors",
        "000000000003.safetensors",
    ]


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Checkpoints(tmp_path)
    run.save(1, {})

    def refuse(path: Any) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.os, "listdir", refuse)
    with pytest.raises(UnreadableError, match=r"cannot read .*: Permission denied"):
        run.latest()


def test_a_state_that_fails_the_check_counts_as_damaged(tmp_path: Path) -> None:
    run = Checkpoints(tmp_path)
    run.save(1, {"loss": 1.0})
    bad = run.save(2, {"loss": float("nan")})

    def check(state: dict[Any, Any]) -> None:
        if state["loss"] != state["loss"]:
            raise CheckpointError("loss is not finite")

    assert run.latest(check=check) == (1, {"loss": 1.0})
    assert run.damaged == [bad]
    assert run.latest()[0] == 2


def test_what_killed_writers_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    left = (".tmpA1b2C3", ".000000000007.safetensors.tmp", ".000000000007.safetensors.0a1b2c3d.tmp", ".config.json.tmp")
    mine = (".tmp", ".tmp-notes", "a.tmp", ".tmpA1b2C34", ".notes.txt.tmp", ".vimrc.swp", "000000000007.safetensors")
    for name in left + mine:
        (tmp_path / name).touch()
    (tmp_path / ".tmpfolders").mkdir()
    (tmp_path / "target").write_text("kept")
    (tmp_path / ".model.json.tmp").symlink_to(tmp_path / "target")
    Checkpoints(tmp_path).sweep()
    assert {path.name for path in tmp_path.iterdir()} == {*mine, ".tmpfolders", "target"}


def test_a_file_that_cannot_be_removed_ends_nothing_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows one cannot while a program reads it, or this one has it mapped."""
    run = Checkpoints(tmp_path, keep=1)
    first = run.save(1, {})

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "used by another process", str(self))

    with monkeypatch.context() as busy:
        busy.setattr(Path, "unlink", refuse)
        second = run.save(2, {})
    assert sorted(tmp_path.iterdir()) == [first, second]
    third = run.save(3, {})
    assert list(tmp_path.iterdir()) == [third]


def test_what_is_no_file_is_no_checkpoint(tmp_path: Path) -> None:
    run = Checkpoints(tmp_path)
    run.save(1, {})
    (tmp_path / "000000000002.safetensors").mkdir()
    (tmp_path / "²³.safetensors").touch()
    (tmp_path / f"{'9' * 30}.safetensors").touch()
    os.mkfifo(tmp_path / "000000000003.safetensors")
    assert run.latest() == (1, {})
    assert run.last_step == 1


def test_switched_off() -> None:
    off = NullCheckpoints()
    assert off.save(1, {}) is None
    assert not off.damaged
    with pytest.raises(CheckpointError, match="switched off"):
        off.latest()
