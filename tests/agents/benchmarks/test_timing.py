"""agents.benchmarks.timing: sides take turns, medians and ratios, what machine it was."""

import time
from importlib import metadata

import pytest
import torch

from agents.benchmarks.timing import in_turn, machine, machine_line, medians, seconds, timed_over_builds

CPU = torch.device("cpu")


def test_sides_take_turns():
    calls = []
    figures = in_turn({name: lambda name=name: calls.append(name) or len(calls) for name in "ab"}, rounds=3)
    assert calls == list("ababab")
    assert figures == {"a": [1, 3, 5], "b": [2, 4, 6]}


def test_medians_and_ratios_to_the_first_in_the_same_round():
    """The machine was slow in the second round, for both sides."""
    rows = medians({"base": [2.0, 100.0, 4.0], "twice": [4.0, 200.0, 12.0]})
    assert rows == {"base": {"median": 4.0, "ratio": 1.0}, "twice": {"median": 12.0, "ratio": 2.0}}


def test_sides_are_built_several_times():
    built = []

    def build():
        built.append(0)
        return {name: (lambda: None) for name in "ab"}

    rows = timed_over_builds(build, 3, rounds=2, times=1, device=CPU, warmup=1)
    assert len(built) == 3
    assert rows.keys() == {"a", "b"}
    assert rows["a"]["ratio"] == 1.0


def test_seconds_are_per_call(monkeypatch):
    now = [5.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def work():
        now[0] += 0.25

    assert seconds(work, 4, CPU) == 0.25


@pytest.mark.parametrize("build", ["2.14.1+cu130", "2.14.1+cpu"])
def test_the_machine_is_named(build, monkeypatch):
    monkeypatch.setattr(torch, "__version__", build)
    monkeypatch.setattr(metadata, "version", lambda name: "2.14.1")
    about = machine(CPU)
    assert about["threads"] == torch.get_num_threads()
    line = machine_line(about, "float32")
    assert about["device"] in line
    assert line.endswith(f"torch {build}, float32")
