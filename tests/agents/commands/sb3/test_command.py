import signal
import sys
from pathlib import Path

import pytest

from agents.commands.sb3 import command, sb3_run
from agents.commands.sb3.command import main, parse_sb3
from agents.settings.task import TaskSettings
from agents.training.run_directory import RunDirectory, broke_down
from envs import EnvironmentFault


def parsed(*arguments):
    return parse_sb3("A program.", list(map(str, arguments)))


def test_defaults_depend_on_the_algorithm_and_the_task():
    cartpole, pong, a2c = parsed("--env", "CartPole-v1"), parsed("--game", "Pong"), parsed("--algo=a2c", "--game=Pong")
    assert [(run.steps, run.num_envs) for run in (cartpole, pong, a2c)] == [(100_000, 1), (10**7, 8), (10**7, 16)]
    assert [run.eval_interval for run in (cartpole, pong)] == [10_000, 250_000]
    assert parsed("--algo", "ppo_recurrent", "--game", "Pong").task.life_loss is False


def test_what_is_given_wins():
    run = parsed("--game", "Pong", "--steps", 5, "--num-envs", 2, "--hyperparams", "n_steps:4", "gamma:0.5")
    assert (run.steps, run.num_envs, run.hyperparams) == (5, 2, ("n_steps:4", "gamma:0.5"))


@pytest.mark.parametrize("task", [[], ["--game", "Pong", "--env", "CartPole-v1"]])
def test_the_task_is_one_game_or_one_environment(task):
    with pytest.raises(
        ValueError, match=r"name the task: --game Breakout for Atari or --env CartPole-v1, one of the two"
    ):
        parsed(*task)


class Run:
    """A run that is stopped, or fails, at some point."""

    finite, is_large = True, False

    def __init__(self, at="", error=None, steps=0, signalled=None, conditions="", id_remark="", env="CartPole-v1"):
        self.conditions, self.id_remark, self.task = conditions, id_remark, TaskSettings(env=env)
        self._at, self._error, self._signalled, self.steps = at, error, signalled, steps
        self.events = []

    def __call__(self, settings, stop):
        self._stop = stop
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.events.append("close")

    def __getattr__(self, name):
        if name == "directory":
            return RunDirectory(Path("place"))

        def part():
            self.events.append(name)
            if name == self._at:
                if self._error:
                    raise self._error
                signal.raise_signal(self._signalled)
                return None
            return {"evaluate": "the result", "save_finite": self.finite}.get(name)

        return part


def call(monkeypatch, run):
    monkeypatch.setattr(sb3_run, "SB3Run", run)
    monkeypatch.setattr(sys, "argv", ["scripts/train_sb3.py", "--env", "CartPole-v1"])
    return main("A program.")


def test_a_run_is_saved_before_it_is_evaluated(monkeypatch, capsys):
    run = Run(steps=1_200)
    assert call(monkeypatch, run) == 0
    assert run.events == ["learn", "save", "evaluate", "close"]
    assert capsys.readouterr().out.splitlines() == [
        "training in place",
        "model of step 1,200: place/model.zip",
        "the result",
        "finished 1,200 steps: python scripts/evaluate.py place evaluates the model",
    ]


def test_the_command_that_is_printed_trusts_the_users_own_module(monkeypatch, capsys):
    assert call(monkeypatch, Run(steps=7, env="my_module:Maze-v0")) == 0
    assert "scripts/evaluate.py place --trust evaluates" in capsys.readouterr().out.splitlines()[-1]


def test_the_command_that_is_printed_trusts_a_large_policy(monkeypatch, capsys):
    run = Run(steps=7)
    run.is_large = True
    assert call(monkeypatch, run) == 0
    assert "scripts/evaluate.py place --trust evaluates" in capsys.readouterr().out.splitlines()[-1]


def test_what_an_id_does_not_mean_is_said(monkeypatch, capsys):
    assert call(monkeypatch, Run(steps=7, id_remark="Pong-v4 means the game Pong")) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["training in place", "Pong-v4 means the game Pong"]


def test_the_conditions_of_a_games_scores_are_said(monkeypatch, capsys):
    assert call(monkeypatch, Run(steps=7, conditions="no sticky actions")) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["training in place", "games are scored with no sticky actions"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("at", "events"),
    [
        ("learn", ["learn", "save", "close"]),
        ("save", ["learn", "save", "close"]),
        ("evaluate", ["learn", "save", "evaluate", "close"]),
    ],
)
def test_a_signal_ends_the_run_with_everything_saved(at, events, number, code, monkeypatch, capsys):
    run = Run(at, signalled=number, steps=7)
    assert call(monkeypatch, run) == code
    assert run.events == events
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "stopped at step 7: python scripts/evaluate.py place evaluates the model"


@pytest.mark.parametrize(
    ("at", "finite", "events", "said"),
    [
        ("learn", True, ["learn", "save_finite", "close"], "; the model of that step is in place/model.zip"),
        ("learn", False, ["learn", "save_finite", "close"], command._NOT_FINITE),
    ],
)
def test_a_fault_of_an_environment_is_one_line_and_the_model_is_saved(at, finite, events, said, monkeypatch, capsys):
    run = Run(at, EnvironmentFault(1, "returned a reward of nan"), steps=7)
    run.finite = finite
    monkeypatch.setattr(RunDirectory, "note_breakdown", lambda *_: None)
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, run)
    assert end.value.code == 1
    assert run.events == events
    line = f"train_sb3.py: error: environment 1 returned a reward of nan at step 7{said}\n"
    assert capsys.readouterr().err == line


def test_a_fault_in_the_last_evaluation_is_one_line(monkeypatch, capsys):
    run = Run("evaluate", EnvironmentFault(0, "failed", "ZeroDivisionError"), steps=7)
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, run)
    assert end.value.code == 1
    assert run.events == ["learn", "save", "evaluate", "close"]
    line = "train_sb3.py: error: no evaluation: environment 0 failed: ZeroDivisionError\n"
    assert capsys.readouterr().err == line


def test_any_other_error_leaves_the_model_too(monkeypatch, capsys):
    run = Run("learn", RuntimeError("the device"), steps=7)
    with pytest.raises(RuntimeError, match="the device"):
        call(monkeypatch, run)
    assert run.events == ["learn", "save_finite", "close"]
    assert capsys.readouterr().err == "the run broke off at step 7: its model is place/model.zip\n"


@pytest.mark.parametrize(("steps", "noted"), [(7, 7), (0, None)])
@pytest.mark.parametrize("error", [RuntimeError("a draw from NaN"), EnvironmentFault(0, "returned a reward of nan")])
def test_an_error_that_comes_of_a_policy_that_is_not_finite_is_noted(error, steps, noted, tmp_path, monkeypatch):
    """But for one before the first step, whose folder is removed."""
    run = Run("learn", error, steps=steps)
    run.finite, run.directory = False, RunDirectory.create(tmp_path, {"agent": "ppo", "settings": {}}, resumable=False)
    with pytest.raises((RuntimeError, SystemExit)):
        call(monkeypatch, run)
    assert broke_down(run.directory.config) == noted


def test_a_note_that_cannot_be_written_hides_no_error(monkeypatch, capsys):
    run = Run("learn", RuntimeError("a draw from NaN"), steps=7)
    run.finite = False
    with pytest.raises(RuntimeError, match="a draw"):
        call(monkeypatch, run)
    assert "that learning broke down is not noted: there is no file place/config.json" in capsys.readouterr().err


def test_a_second_signal_stops_at_once(monkeypatch):
    class Twice(Run):
        def learn(self):
            signal.raise_signal(signal.SIGINT)
            assert self._stop()
            signal.raise_signal(signal.SIGINT)
            raise AssertionError

    run = Twice(steps=7)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may ignore it
    try:
        assert call(monkeypatch, run) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert run.events == ["close"]


@pytest.mark.parametrize("kind", [ValueError, TypeError, AssertionError, ImportError])
def test_what_goes_wrong_before_the_first_step_is_one_line(kind, monkeypatch, capsys):
    run = Run("learn", kind("a reason\nof two lines"))
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, run)
    assert end.value.code == 2
    assert capsys.readouterr().err == "train_sb3.py: error: a reason of two lines\n"
    assert run.events == ["learn", "close"]


def test_what_goes_wrong_later_is_shown_in_full(monkeypatch):
    with pytest.raises(ValueError, match="a fault"):
        call(monkeypatch, Run("learn", ValueError("a fault"), steps=1))
