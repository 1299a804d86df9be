import io
import os
import subprocess
import sys

import pytest

from agents.runtime.lasting_output import keep_output_going, lasting
from tests.scripts.processes import SCRIPTS


def stream_to(number, buffered=True, **options):
    raw = io.FileIO(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw) if buffered else raw, encoding="utf-8", **options)


def without_reader():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def full_disk():
    return os.open("/dev/full", os.O_WRONLY)


def dead_terminal():
    main, terminal = os.openpty()
    os.close(main)
    return terminal


@pytest.mark.skipif(os.name == "nt", reason="POSIX")
@pytest.mark.parametrize("broken", [without_reader, full_disk, dead_terminal])
@pytest.mark.parametrize("buffered", [True, False])
def test_what_cannot_be_written_is_dropped(broken, buffered):
    number = broken()
    plain = stream_to(number, buffered)
    with pytest.raises(OSError, match=r"^\[Errno \d+\]"):
        print("x" * 100_000, file=plain, flush=True)
    for options in ({}, {"line_buffering": True}, {"write_through": True}):
        stream = lasting(stream_to(number, buffered, **options))
        for _ in range(3):
            print("x" * 100_000, file=stream, flush=True)
        stream.close()
    os.close(number)


def test_what_can_be_written_is_written_as_before(tmp_path):
    with (tmp_path / "out").open("w", encoding="ascii", errors="backslashreplace") as file:
        stream = lasting(file)
        assert (stream.encoding, stream.errors, stream.line_buffering) == ("ascii", "backslashreplace", False)
        assert (stream.fileno(), stream.isatty(), stream.name) == (file.fileno(), False, file.name)
        assert lasting(stream) is stream
        stream.write("± 1\n")
        assert (tmp_path / "out").read_text() == ""
        stream.flush()
    assert (tmp_path / "out").read_text() == "\\xb1 1\n"


def test_a_full_disk_may_have_space_again():
    number = os.open("/dev/full", os.O_WRONLY)
    stream = lasting(stream_to(number))
    print("lost", file=stream, flush=True)
    reader, writer = os.pipe()
    os.dup2(writer, number)
    print("kept", file=stream, flush=True)
    assert os.read(reader, 100) == b"kept\n"
    os.close(writer)
    os.close(number)
    os.close(reader)


def test_a_slow_reader_of_a_pipe_that_does_not_block_loses_text_only(monkeypatch):
    monkeypatch.setattr("agents.runtime.lasting_output._PATIENCE", 0.01)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    stream = lasting(stream_to(writer))
    for _ in range(5):
        print("x" * 50_000, file=stream, flush=True)
    assert os.read(reader, 10) == b"x" * 10
    os.close(writer)
    os.close(reader)


def test_streams_in_memory_are_left_alone(monkeypatch):
    streams = io.StringIO(), io.TextIOWrapper(io.BytesIO())
    assert [lasting(stream) for stream in streams] == [*streams]
    monkeypatch.setattr(sys, "stdout", streams[0])
    keep_output_going()
    assert sys.stdout is streams[0]


PRINT = """
import os, sys
from agents.runtime.lasting_output import keep_output_going

keep_output_going()
for _ in range(3):
    print("x" * 20_000)
    print("y" * 20_000, file=sys.stderr)
assert os.open({file!r}, os.O_CREAT) > 2
sys.stderr.isatty()
"""


@pytest.mark.skipif(os.name == "nt", reason="a shell's redirections")
@pytest.mark.parametrize(
    "ends", ["2>&1 | head -c 5 >/dev/null", ">/dev/full 2>&1", ">&- 2>&-", "<&- >&- 2>&-", ">&- 2>/dev/full"]
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_process_ends_as_if_all_had_been_read(ends, unbuffered, tmp_path):
    def run(program):
        (tmp_path / "program.py").write_text(program)
        command = f"set -o pipefail; {sys.executable} {tmp_path / 'program.py'} {ends}"
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        return subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment)

    program = PRINT.format(file=str(tmp_path / "file"))
    done = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert run(program.replace("\nkeep_output_going()", "")).returncode  # so that this test can fail


CHAIN = "--env Chain --hidden 16 --device cpu --steps 301 --learning-starts 50 --log-interval 50 --eval-interval 100"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a shell's redirections")
@pytest.mark.parametrize("ends", ["| head -1", ">/dev/full 2>&1", ">&- 2>&-"])
def test_no_command_ends_by_what_it_prints(ends, tmp_path):
    def run(command, *names):
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {sys.executable} {SCRIPTS}/{command} {ends}"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert (done.returncode, "Traceback" in done.stderr, "ignored" in done.stderr) == (0, False, False), command
        assert all((tmp_path / "run" / name).exists() for name in names)

    run(f"train_dqn.py {CHAIN} --run-dir run", "model.safetensors", "checkpoints/000000000301.safetensors")
    run("evaluate.py run --episodes 3")
    run("train_sb3.py --env CartPole-v1 --steps 300 --run-dir sb3")
    run("benchmark.py replay --help")
    run("train_ppo.py --help-all")
    run("train_sb3.py --help")
