import shlex
import sys

import pytest

from agents.commands import invocation
from agents.commands.invocation import how_to_call, quoted


@pytest.mark.parametrize(
    ("started", "expected"),
    [
        (
            "scripts/train_dqn.py",
            ["python scripts/train_ppo.py", "python scripts/evaluate.py", "python scripts/train_sb3.py"],
        ),
        ("train_sb3.py", ["python train_ppo.py", "python evaluate.py", "python train_sb3.py"]),
        ("/a b/evaluate.py", ["python '/a b/train_ppo.py'", "python '/a b/evaluate.py'", "python '/a b/train_sb3.py'"]),
        ("wnrl train dqn", ["wnrl train ppo", "wnrl evaluate", "wnrl sb3"]),
        ("python -m wnrl sb3", ["python -m wnrl train ppo", "python -m wnrl evaluate", "python -m wnrl sb3"]),
        ("/env/bin/wnrl", ["wnrl train ppo", "wnrl evaluate", "wnrl sb3"]),
        ("my_script.py", ["wnrl train ppo", "wnrl evaluate", "wnrl sb3"]),
        ("-c", ["wnrl train ppo", "wnrl evaluate", "wnrl sb3"]),
        ("", ["wnrl train ppo", "wnrl evaluate", "wnrl sb3"]),
    ],
)
def test_commands_are_called_as_the_process_was(started, expected, monkeypatch):
    monkeypatch.setattr(sys, "argv", [started])
    assert [how_to_call("train", "ppo"), how_to_call("evaluate"), how_to_call("sb3")] == expected


def test_a_script_below_the_current_folder_has_a_short_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "scripts" / "train_dqn.py")])
    assert how_to_call("evaluate") == "python scripts/evaluate.py"


@pytest.mark.parametrize("argument", ["runs/x", "a b", "it's", "$HOME", "Übung"])
def test_an_argument_is_one_word_to_the_shell(argument):
    assert shlex.split(quoted(argument)) == [argument]


def test_windows_quotes_its_own_way(monkeypatch):
    monkeypatch.setattr(invocation.os, "name", "nt")
    assert [quoted(r"C:\runs\x"), quoted(r"C:\my runs\x")] == [r"C:\runs\x", r'"C:\my runs\x"']
