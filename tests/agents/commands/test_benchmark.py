import json
import sys

import pytest

from agents.benchmarks.commands import UpdateCalls
from agents.commands.benchmark import main
from envs import EnvironmentFault


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, arguments)])
    return main("A program.")


def test_a_table_is_printed_and_the_figures_are_written(tmp_path, monkeypatch, capsys):
    path = tmp_path / "figures.json"
    assert call(monkeypatch, "calls", "--updates", 1, "--json", path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("float32")
    written = json.loads(path.read_text())
    assert written.keys() == {"machine", "settings", "median", "updates", "calls"}
    assert (written["settings"]["updates"], written["settings"]["json"]) == (1, str(path))
    assert written["machine"]["versions"].keys() == {"torch", "ale-py", "stable-baselines3"}
    assert f"{written['median']['jumps']:10.0f}" in lines[5]


def test_no_file_is_written_unless_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "calls", "--updates", 1) == 0
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["calls", "--updates", 0], "updates must be at least 1, got 0"),
        (["calls", "--threads", -1], "threads must not be negative, got -1"),
        (["calls", "--json", "none/figures.json"], "cannot write to none/figures.json: name a file in a folder that"),
        (["calls", "--json", "/"], "cannot write to /: name a file"),
        (["calls", "--env", "CartPol-v1"], "CartPol-v1"),
        (["calls", "--agent", "ddqn"], "ddqn"),
        (["replay", "--device", "cuda:99"], "device 'cuda:99' is not available"),
    ],
)
def test_what_is_wrong_is_one_line_and_code_2(arguments, said, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, *arguments)
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_a_fault_of_an_environment_is_one_line_and_code_1(monkeypatch, capsys):
    def measure(self, device):
        raise EnvironmentFault(2, "returned a reward of nan")

    monkeypatch.setattr(UpdateCalls, "measure", measure)
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, "calls")
    assert end.value.code == 1
    assert capsys.readouterr().err == "benchmark.py: error: environment 2 returned a reward of nan\n"


def test_figures_that_cannot_be_written_are_one_line_after_the_table(monkeypatch, capsys):
    """The disk may be full after an hour of measuring."""
    monkeypatch.setattr(UpdateCalls, "measure", lambda self, device: ({}, "a table"))
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, "calls", "--json", "/dev/full")
    out, err = capsys.readouterr()
    assert (end.value.code, "a table" in out) == (2, True)
    assert err == "benchmark.py: error: cannot write /dev/full: No space left on device\n"


def test_ctrl_c_ends_without_a_traceback(monkeypatch):
    def measure(self, device):
        raise KeyboardInterrupt

    monkeypatch.setattr(UpdateCalls, "measure", measure)
    assert call(monkeypatch, "calls") == 130
