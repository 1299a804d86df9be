import os
import stat
from pathlib import Path
from typing import Any

import pytest

from wnrl.checkpoints import files
from wnrl.checkpoints.files import CheckpointError, UnreadableError, open_file, read_json, replace_file, replacing


def write(text: str) -> Any:
    return lambda path: path.write_text(text)


def test_a_link_that_came_with_a_folder_is_not_followed(tmp_path: Path) -> None:
    """Neither that of a temporary file, whatever its name, nor that of the file itself."""
    target = tmp_path / "target"
    target.write_text("mine")
    for name in (".model.json.tmp", ".model.json.00000000.tmp", "model.json"):
        (tmp_path / name).symlink_to(target)
    files.secrets, kept = _Zeros(), files.secrets
    try:
        with pytest.raises(CheckpointError, match=r"cannot write .*model\.json .*File exists"):
            replace_file(tmp_path / "model.json", write("theirs"))
    finally:
        files.secrets = kept
    replace_file(tmp_path / "model.json", write("theirs"))
    assert target.read_text() == "mine"
    assert (tmp_path / "model.json").read_text() == "theirs"
    assert not (tmp_path / "model.json").is_symlink()


class _Zeros:
    """Draws what an attacker has guessed."""

    def token_hex(self, number: int) -> str:
        return "00" * number


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_ends_the_writing_leaves_the_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        half()
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("a.json", "old")]


def test_a_file_that_a_program_reads_is_replaced_a_little_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where it cannot be while it is open."""
    refused, replace = [1, 2], os.replace

    def busy(*paths: Any) -> None:
        if refused:
            raise PermissionError(13, f"used by another process, {refused.pop()}")
        replace(*paths)

    monkeypatch.setattr(files.os, "replace", busy)
    monkeypatch.setattr(files, "_WAITS", (0.0, 0.0))
    replace_file(tmp_path / "a.json", write("new"))
    assert (tmp_path / "a.json").read_text() == "new"
    refused.extend([1, 2, 3])
    with pytest.raises(CheckpointError, match="used by another process, 1"):
        replace_file(tmp_path / "a.json", write("newer"))
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("a.json", "new")]


def test_a_folder_that_cannot_be_synchronized_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def refuse(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")
        sync(handle)

    monkeypatch.setattr(files.os, "fsync", refuse)
    replace_file(tmp_path / "a.json", write("new"))
    assert (tmp_path / "a.json").read_text() == "new"


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes")
def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for a writer
    (tmp_path / "folder").mkdir()
    (tmp_path / "a").touch()
    for name, said in (("pipe", "is no file"), ("folder", "is no file"), ("none", "no file"), ("a/b", "no file")):
        with pytest.raises(CheckpointError, match=said) as raised:
            open_file(tmp_path / name)
        assert not isinstance(raised.value, UnreadableError)
    with pytest.raises(CheckpointError, match="there is no file"):
        open_file("a\0b")
    with pytest.raises(CheckpointError, match="is no file"):
        open_file("/dev/zero")


def test_a_file_without_permission_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").touch()

    def refuse(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")  # root may read everything

    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(UnreadableError, match=r"cannot read .*a: Permission denied$"):
        open_file(tmp_path / "a")


@pytest.mark.parametrize("text", [b"{", b"\xff{}", b"[" * 100_000, b"\0\0", b"", b'{"a": 1' + b"0" * 5_000 + b"}"])
def test_damaged_json_is_one_line(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(CheckpointError, match=r"a\.json is damaged: ") as raised:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(raised.value)


def test_json_is_read_up_to_a_size(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert read_json(tmp_path / "a.json", most=8) == {"a": 1}
    with pytest.raises(CheckpointError, match="has more than 7 bytes"):
        read_json(tmp_path / "a.json", most=7)
