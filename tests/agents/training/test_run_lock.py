import errno
import os
import signal
import time

import pytest

from agents.training import run_lock
from agents.training.run_lock import GUARD, NAME, RunLock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forked processes")


def forked(work):
    """The number of a process that does that, and then waits."""
    told, telling = os.pipe()
    if child := os.fork():
        os.close(telling)
        assert os.read(told, 1) == b"."
        os.close(told)
        return child
    try:
        kept = work()
        os.write(telling, b".")
        time.sleep(60)
        del kept
    finally:
        os._exit(1)


def killed(child):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_who_holds_the_folder_is_named_until_it_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["scripts/train_dqn.py", "--game", "A game\n\x1b[31m"])
    child = forked(lambda: RunLock(tmp_path))
    named = (
        rf"^{tmp_path} is being written by process {child} on .* \(scripts/train_dqn.py --game 'A game\[31m'\): wait"
    )
    try:
        with pytest.raises(ValueError, match=named):
            RunLock(tmp_path)
    finally:
        killed(child)
    assert (tmp_path / NAME).exists()  # which blocks nobody
    RunLock(tmp_path).release()
    assert list(tmp_path.iterdir()) == []


def test_a_forked_process_that_lives_on_holds_nothing(tmp_path):
    """As that of an environment whose run was killed; it neither keeps the lock nor gives it away."""
    lock = RunLock(tmp_path)
    child = forked(lambda: lock.release())
    try:
        with pytest.raises(ValueError, match="is being written by this process"):
            RunLock(tmp_path)
        lock._path = tmp_path / "elsewhere"  # so that its file stays, as after a kill
        lock.release()
        assert (tmp_path / NAME).exists()
        RunLock(tmp_path).release()
    finally:
        killed(child)


def test_without_the_hook_it_would_keep_it(tmp_path):
    """So that the test above can fail."""
    lock = RunLock(tmp_path)
    run_lock._HANDLES.clear()
    child = forked(lambda: None)
    lock._path = tmp_path / "elsewhere"
    lock.release()
    with pytest.raises(ValueError, match="is being written by"):
        RunLock(tmp_path)
    killed(child)
    RunLock(tmp_path).release()


def test_a_lock_is_released_with_its_owner(tmp_path):
    lock = RunLock(tmp_path)
    with pytest.raises(ValueError, match=r"by this process: close\(\) the agent that learns there first$"):
        RunLock(tmp_path)
    del lock
    RunLock(tmp_path).release()


def test_one_that_was_released_between_is_taken_anew(tmp_path, monkeypatch):
    """Its holder removes the file while another one waits to lock it."""
    first, lock = RunLock(tmp_path), RunLock._lock

    def released(self, handle, folder):
        first.release()
        lock(self, handle, folder)

    monkeypatch.setattr(RunLock, "_lock", released)
    second = RunLock(tmp_path)
    monkeypatch.setattr(RunLock, "_lock", lock)
    with pytest.raises(ValueError, match="is being written by this process"):
        RunLock(tmp_path)
    second.release()
    assert list(tmp_path.iterdir()) == []


def test_without_flock_another_library_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "fcntl", None)
    lock = RunLock(tmp_path)
    with pytest.raises(ValueError, match="is being written by this process"):
        RunLock(tmp_path)
    lock.release()
    RunLock(tmp_path).release()
    assert {path.name for path in tmp_path.iterdir()} <= {GUARD}


def test_a_file_system_without_locks_is_said_once_and_ends_nothing(tmp_path, monkeypatch):
    def refuse(handle, flags):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_lock.fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="is on a file system without locks: start no second process there"):
        RunLock(tmp_path).release()
    assert list(tmp_path.iterdir()) == []


def test_what_lies_in_the_place_of_the_lock_is_neither_followed_nor_waited_for(tmp_path):
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / NAME).symlink_to(target)
    with pytest.raises(ValueError, match=rf"cannot write the run to {tmp_path}: "):
        RunLock(tmp_path)
    assert target.read_text() == "mine"
    (tmp_path / NAME).unlink()
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(ValueError, match=r"\.lock is no file: remove it$"):
        RunLock(tmp_path)
