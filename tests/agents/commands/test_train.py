import os
import re
import signal
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.commands.evaluate import EvaluateSettings, play_saved_model
from agents.commands.train import train, training_line
from agents.dqn import build
from agents.runtime.distributed import OneProcess
from agents.training.run_directory import RunDirectory
from wnrl.checkpoints.checkpoints import Checkpoints
from wnrl.checkpoints.tensor_files import read_model

FLAGS = ["--env", "Chain", "--hidden", "4", "--device", "cpu", "--num-envs", "1", "--steps", "60"]
FLAGS += ["--learning-starts", "20", "--batch-size", "4", "--replay-size", "200", "--eval-interval", "0"]


def call(monkeypatch, *arguments):
    """The exit code of a training script that is called with these arguments."""
    monkeypatch.setattr(sys, "argv", ["scripts/train_dqn.py", *map(str, arguments)])
    return train("dqn", "A program.")


def interrupting(call, at, number=signal.SIGTERM):
    """The same function, which sends this process a signal when it is called for the `at`-th time."""
    calls = []

    def interrupted(*arguments):
        calls.append(None)
        if len(calls) == at:
            os.kill(os.getpid(), number)
        return call(*arguments)

    return interrupted


def changed(monkeypatch, change):
    """Let `change` see each agent that is built."""
    make = build.build_dqn

    def changing(*arguments):
        agent = make(*arguments)
        change(agent)
        return agent

    monkeypatch.setattr(build, "build_dqn", changing)


def interrupted_in_training(agent):
    agent.act = interrupting(agent.act, 10)


def interrupted_in_evaluation(agent):
    policy = agent.policy
    agent.policy = lambda rng: interrupting(policy(rng), 30)


def test_a_run_to_its_end(tmp_path, monkeypatch, capsys):
    assert call(monkeypatch, *FLAGS, "--run-dir", tmp_path / "run") == 0
    assert Checkpoints(tmp_path / "run" / "checkpoints").latest()[0] == 60
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"training in {tmp_path / 'run'}"
    assert re.fullmatch(r"Chain: \d\.\d ± \d\.\d over the last \d+ games of training", lines[-2])
    assert lines[-1] == f"finished 60 steps: python scripts/evaluate.py {tmp_path / 'run'} evaluates the model"


def test_what_the_last_games_of_training_scored():
    assert training_line("Chain", [1.0, 4.0], "") == "Chain: 2.5 ± 1.5 over the last 2 games of training"
    assert training_line("Pong", [3.0], "no life loss") == (
        "Pong: 3.0 ± 0.0 over the last 1 games of training (no life loss)"
    )


def test_a_run_without_a_finished_game_has_no_score(tmp_path, monkeypatch, capsys):
    assert call(monkeypatch, *FLAGS, "--steps", 2, "--run-dir", tmp_path / "run") == 0
    assert "games of training" not in capsys.readouterr().out


@pytest.mark.slow
def test_the_conditions_of_a_game_stand_beside_every_score(tmp_path, monkeypatch, capsys):
    """In what the command prints, in `config.json`, in the models, in TensorBoard, and in what evaluate.py prints."""
    path = tmp_path / "run"
    flags = ["--game", "Pong", "--protocol", "machado", "--eval-epsilon", 1.0, "--max-frames", 120, "--norm", "none"]
    flags += ["--steps", 200, "--eval-interval", 100, "--eval-episodes", 1, "--replay-size", 1000, "--num-envs", 2]
    assert call(monkeypatch, *flags, "--hidden", 4, "--device", "cpu", "--run-dir", path) == 0
    words = "protocol machado except max_frames, eval_epsilon: sticky actions 0.25, no no-ops, FIRE left to the agent, "
    words += "full action set, no life loss, at most 120 frames"
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"games are scored with {words}"
    assert lines[-2].startswith("Pong: ")
    assert lines[-2].endswith(f"games of training ({words})")
    settings = RunDirectory(path).config["settings"]
    assert [settings[name] for name in ("protocol", "sticky_actions", "max_frames", "life_loss")] == [
        "machado", 0.25, 120, False
    ]  # fmt: skip
    for name in ("model", "best"):
        about = read_model(path / name)[1]
        assert (about["protocol"], about["life_loss"], about["play"]) == ("machado", False, {"epsilon": 1.0})
        assert about["emulator"] == {
            "noop_max": 0, "fire_reset": False, "sticky_actions": 0.25, "full_action_set": True, "max_frames": 120
        }  # fmt: skip
    (event,) = EventAccumulator(str(path)).Reload().Tensors("conditions/text_summary")
    assert event.tensor_proto.string_val == [words.encode()]
    play = EvaluateSettings(path, episodes=1, model="best", device="cpu")
    assert f"the best of 2 evaluations in training, a choice that flatters; {words})" in play_saved_model(play)


def test_a_signal_ends_the_run_with_a_checkpoint_and_a_model(tmp_path, monkeypatch, capsys):
    before, path = signal.getsignal(signal.SIGTERM), tmp_path / "run"
    changed(monkeypatch, interrupted_in_training)
    assert call(monkeypatch, *FLAGS, "--run-dir", path) == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    step = Checkpoints(path / "checkpoints").latest()[0]
    assert step == read_model(path / "model")[1]["step"] <= 10
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"stopped at step {step} with a checkpoint: continue with --resume {path}"
    )


def test_an_evaluation_that_is_cut_short_is_made_up_for(tmp_path, monkeypatch):
    path = tmp_path / "run"
    evaluated = ["--eval-interval", 10, "--eval-episodes", 10_000, "--steps", 1_000]
    with monkeypatch.context() as patch:
        changed(patch, interrupted_in_evaluation)
        assert call(monkeypatch, *FLAGS, *evaluated, "--run-dir", path) == 128 + signal.SIGTERM
    assert not (path / "best.json").exists()
    assert "eval/mean_reward" not in (path / "progress.csv").read_text()
    assert Checkpoints(path / "checkpoints").latest()[0] == 10
    assert call(monkeypatch, "--resume", path, "--eval-episodes", 2, "--steps", 12) == 0
    assert "eval/mean_reward" in (path / "progress.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--steps", "0"], "steps must be at least 1, got 0"),
        (["--device", "cuda:99"], "device 'cuda:99' is not available"),
        (["--foo", "1"], "--foo"),
    ],
)
def test_what_is_wrong_is_one_line_and_code_2(arguments, said, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, *FLAGS, *arguments, "--run-dir", tmp_path / "run")
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.startswith("train_dqn.py: error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_other_processes_leave_the_words_to_the_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("agents.training.run.join", OneProcess)  # there is nobody to join
    assert call(monkeypatch, *FLAGS, "--steps", "0") == 2
    assert call(monkeypatch, *FLAGS, "--run-dir", tmp_path / "run") == 0
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("finished")]


@pytest.mark.parametrize("world_size", [None, "1", ""])
def test_a_rank_without_other_processes_is_the_first(world_size, tmp_path, monkeypatch, capsys):
    """Job systems set RANK for a single process too."""
    monkeypatch.setenv("RANK", "1")
    if world_size is not None:
        monkeypatch.setenv("WORLD_SIZE", world_size)
    assert call(monkeypatch, *FLAGS, "--run-dir", tmp_path / "run") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("finished 60 steps")
    with pytest.raises(SystemExit):
        call(monkeypatch, *FLAGS, "--steps", "0", "--run-dir", tmp_path / "other")
    assert "steps must be at least 1" in capsys.readouterr().err


def test_ctrl_c_while_the_run_is_built_is_code_130(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "build_dqn", interrupted)
    assert call(monkeypatch, *FLAGS, "--run-dir", tmp_path / "run") == 130
