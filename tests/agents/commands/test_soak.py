"""agents.commands.soak; agents.benchmarks.soak has the tests of what is measured."""

import os
import signal
import sys

import pytest

from agents.benchmarks.soak import Sample, Soak
from agents.commands.soak import main


@pytest.fixture
def samples(monkeypatch):
    """What the watched run gives."""
    found = []
    monkeypatch.setattr(Soak, "samples", lambda self, stop: found)
    return found


def soak(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["soak.py", *map(str, arguments)])
    return main("A program.")


def test_a_flat_run_ends_with_0(samples, monkeypatch, capsys):
    samples += [Sample(60.0 * t, 100 * t, 500.0, 40, 12) for t in range(31)]
    assert soak(monkeypatch, "--minutes", 30, "--out", "x") == 0
    out, err = capsys.readouterr()
    assert out == (
        "30 minutes with a full replay buffer, steps 0 to 3,000: memory 500.0 to 500.0 MiB, handles 40 to 40, threads "
        "12 to 12: x/soak.csv\n"
    )
    assert err == ""


def test_growth_ends_with_1_and_one_line(samples, monkeypatch, capsys):
    samples += [Sample(60.0 * t, 100 * t, 500.0 + 5 * t, 40, 12) for t in range(31)]
    assert soak(monkeypatch, "--out", "x") == 1
    line = "grew in 30 minutes with a full replay buffer: memory from 522.5 to 627.5 (bound: 32 more): x/soak.csv\n"
    assert capsys.readouterr() == ("", line)
    assert soak(monkeypatch, "--memory-bound", 200) == 0


@pytest.mark.parametrize(("count", "said"), [(31, "30 minutes with a full"), (0, "soak.py: error: too short")])
def test_what_a_stopped_watch_saw_is_judged(monkeypatch, capsys, count, said):
    """The exit code is the signal's, as of a command that is ended by it."""

    def stopped(self, stop):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        if not count:
            raise ValueError("too short")
        return [Sample(60.0 * t, 100 * t, 500.0, 40, 12) for t in range(count)]

    monkeypatch.setattr(Soak, "samples", stopped)
    try:
        code = soak(monkeypatch, "--out", "x")
    except SystemExit as end:
        code = end.code
    assert code == 128 + signal.SIGTERM
    assert said in "".join(capsys.readouterr())
