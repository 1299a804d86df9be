import io
import subprocess
import sys

import pytest

from agents.runtime.output_text import make_output_safe, readable


def stream(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


@pytest.mark.parametrize(
    ("encoding", "text", "shown"),
    [
        ("utf-8", "3.0 ± 1.0 at ε", "3.0 ± 1.0 at ε"),
        ("ascii", "3.0 ± 1.0 at ε", "3.0 +/- 1.0 at epsilon"),
        ("cp1252", "3.0 ± 1.0 at ε", "3.0 ± 1.0 at epsilon"),  # Windows
        ("ascii", "‖w‖ ≥ √n…", "||w|| >= sqrt n..."),
        ("ascii", "╭──╮│", "+--+|"),
        ("ascii", "Müller 歩 🙂", "Muller ? ?"),
    ],
)
def test_what_an_encoding_lacks_is_replaced(encoding, text, shown):
    assert readable(text, stream(encoding)) == shown


def test_a_stream_in_memory_takes_everything():
    assert readable("±", io.StringIO()) == "±"


PRINT = """
import sys
from agents.runtime.output_text import make_output_safe

make_output_safe()
print("3.0 ± 1.0")
print("ε", file=sys.stderr)
"""


@pytest.mark.parametrize(("encoding", "out", "err"), [("ascii", b"3.0 +/- 1.0", b"epsilon"), ("utf-8", None, None)])
def test_a_process_prints_whatever_its_encoding(encoding, out, err, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    done = subprocess.run([sys.executable, "-c", PRINT], capture_output=True, check=True)
    assert done.stdout.strip() == (out or "3.0 ± 1.0".encode())
    assert done.stderr.strip() == (err or "ε".encode())


def test_without_it_a_process_fails(monkeypatch):
    """So that the test above can fail."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = subprocess.run([sys.executable, "-c", PRINT.replace("make_output_safe()\n", "\n")], capture_output=True)
    assert b"UnicodeEncodeError" in done.stderr


def test_output_that_is_captured_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    make_output_safe()
    print("±")
    assert sys.stdout.getvalue() == "±\n"
