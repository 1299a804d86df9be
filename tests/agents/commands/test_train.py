import os
import re
import shlex
import signal
import sys

import gymnasium
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents import load
from agents.commands import evaluate
from agents.commands.evaluate import EvaluateSettings, play_saved_model
from agents.commands.train import in_processes, train, training_line
from agents.dqn import build
from agents.learner.finite import NonFiniteError
from agents.runtime.distributed import OneProcess, ProcessGoneError
from agents.training.run_directory import RunDirectory
from envs import EnvironmentFault
from wnrl.checkpoints.checkpoints import Checkpoints
from wnrl.checkpoints.tensor_files import CheckpointError, read_model

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
    agent.policy = lambda *arguments: interrupting(policy(*arguments), 30)


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
            "noop_max": 0, "fire_reset": False, "sticky_actions": 0.25, "full_action_set": True, "max_frames": 120,
            "frame_skip": 4, "stack": 4,
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
        f"stopped at step {step} with a checkpoint: python scripts/train_dqn.py --resume {path} continues the run"
    )


def test_a_stopped_run_that_was_made_longer_goes_on_by_the_command_that_it_prints(tmp_path, monkeypatch, capsys):
    path = tmp_path / "a run's"
    assert call(monkeypatch, *FLAGS, "--run-dir", path) == 0
    with monkeypatch.context() as patch:
        changed(patch, interrupted_in_training)
        assert call(patch, "--resume", path, "--steps", 900) == 128 + signal.SIGTERM
    line = capsys.readouterr().out.splitlines()[-1]
    form = r"stopped at step 6\d with a checkpoint: python scripts/train_dqn.py (.*) continues the run"
    command = re.fullmatch(form, line)[1]
    assert shlex.split(command) == ["--resume", str(path)]
    with monkeypatch.context() as patch:
        changed(patch, interrupted_in_training)
        assert call(patch, *shlex.split(command)) == 128 + signal.SIGTERM
    config = RunDirectory(path).config
    assert config["settings"]["steps"] == 900
    first, second, third = config["starts"]
    assert (first["first_step"], first["changed"], second["first_step"]) == (0, {}, 60)
    assert second["changed"] == {"steps": {"from": 60, "to": 900}, "schedule_steps": {"from": None, "to": 60}}
    assert (third["changed"], third["first_step"] > 60) == ({}, True)
    assert second["command"] == ["scripts/train_dqn.py", "--resume", str(path), "--steps", "900"]
    assert all(start["device"].startswith("cpu, ") for start in config["starts"])


def test_resume_auto_is_one_command_from_the_beginning_to_the_end(tmp_path, monkeypatch, capsys):
    path = tmp_path / "run"
    command = [*FLAGS, "--resume", "auto", "--run-dir", path]
    path.mkdir()
    (path / "job.log").write_text("of the job system")
    RunDirectory.create(path, {"agent": "dqn", "settings": {}}, again=True)  # a run that ended before a checkpoint
    with monkeypatch.context() as patch:
        changed(patch, interrupted_in_training)
        assert call(patch, *command) == 128 + signal.SIGTERM
    assert (path / "unfinished" / "config.json").is_file()
    assert (path / "job.log").read_text() == "of the job system"
    assert call(monkeypatch, *command) == 0
    assert re.search(r"resuming at step (9|10) in ", capsys.readouterr().out)
    assert Checkpoints(path / "checkpoints").latest()[0] == 60
    before = (path / "config.json").read_text()
    assert call(monkeypatch, *command) == 0
    assert capsys.readouterr() == (f"{path} has its 60 steps: nothing to do\n", "")
    assert (path / "config.json").read_text() == before


def test_a_signal_in_the_last_evaluation_loses_nothing(tmp_path, monkeypatch, capsys):
    path = tmp_path / "run"
    command = [*FLAGS, "--resume", "auto", "--run-dir", path, "--eval-interval", 60, "--eval-episodes", 30]
    with monkeypatch.context() as patch:
        changed(patch, interrupted_in_evaluation)
        assert call(patch, *command) == 128 + signal.SIGTERM
    assert last(capsys).startswith("stopped at step 60 with a checkpoint: ")
    assert call(monkeypatch, *command) == 0
    assert len((path / "evaluations.csv").read_text().splitlines()) == 31  # a row for each game
    assert call(monkeypatch, *command) == 0
    assert last(capsys) == f"{path} has its 60 steps: nothing to do"


def test_a_signal_after_the_last_step_finds_a_finished_run(tmp_path, monkeypatch, capsys):
    save = Checkpoints.save
    monkeypatch.setattr(Checkpoints, "save", interrupting(save, 1))
    assert call(monkeypatch, *FLAGS, "--run-dir", tmp_path / "run") == 0
    assert last(capsys).startswith("finished 60 steps")


def test_several_processes_continue_by_torchrun():
    argv = {"python scripts/train_dqn.py": "scripts/train_dqn.py", "wnrl train dqn": "-m wnrl train dqn"}
    for call, program in {**argv, "python -m wnrl train dqn": "-m wnrl train dqn"}.items():
        assert in_processes(call, 4) == f"torchrun --nproc-per-node 4 {program}"
        assert in_processes(call, 1) == call


def test_another_run_begins_with_the_network_of_a_run(tmp_path, monkeypatch, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    assert call(monkeypatch, *FLAGS, "--run-dir", first) == 0
    short = ["--steps", 1, "--norm", "none", "--init-from", first]
    assert call(monkeypatch, *FLAGS, *short, "--run-dir", second) == 0
    (before, _), (after, _) = read_model(first / "model"), read_model(second / "model")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor)
    with pytest.raises(SystemExit):
        call(monkeypatch, *FLAGS, "--hidden", 5, "--init-from", first, "--run-dir", tmp_path / "third")
    assert capsys.readouterr().err == (
        f"train_dqn.py: error: init_from: the network of {first} is another one: hidden 4, here 5\n"
    )
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize(("value", "said"), [("x", "WORLD_SIZE must be a number"), ("2", "WORLD_SIZE is 2, but RANK")])
def test_processes_that_cannot_meet_are_refused_before_anything_is_made(tmp_path, monkeypatch, capsys, value, said):
    for variable in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("WORLD_SIZE", value)
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, *FLAGS, "--run-dir", tmp_path / "run")
    out, err = capsys.readouterr()
    assert (end.value.code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not (tmp_path / "run").exists()


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
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
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


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (EnvironmentFault(2, "returned a reward of nan"), r"environment 2 returned a reward of nan at step 10"),
        (NonFiniteError("learning\nbroke down"), "learning broke down"),
        (CheckpointError("no space"), "no space"),
        (ProcessGoneError("another process has ended"), "another process has ended"),
    ],
)
def test_what_ends_a_run_is_one_line_and_exit_code_1(error, line, monkeypatch, tmp_path, capsys):
    """A fault of the environment gets its step from the trainer."""

    def broken(agent):
        act = agent.act

        def acting(timestep, step):
            if step == 10:
                raise error
            return act(timestep, step)

        agent.act = acting

    changed(monkeypatch, broken)
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, *FLAGS, "--run-dir", tmp_path / "run")
    assert end.value.code == 1
    assert capsys.readouterr().err == f"train_dqn.py: error: {line}\n"


def test_other_errors_keep_their_traceback(monkeypatch, tmp_path):
    def broken(agent):
        agent.act = lambda timestep, step: 1 // 0

    changed(monkeypatch, broken)
    with pytest.raises(ZeroDivisionError):
        call(monkeypatch, *FLAGS, "--run-dir", tmp_path / "run")


# Modules that files name

MAZE = """
import gymnasium

class Maze(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(0, 1, (5,)), gymnasium.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}
    def step(self, action):
        return self.observation_space.sample(), 1.0, True, False, {}

gymnasium.register("Maze-v0", Maze)
"""


@pytest.fixture
def maze(tmp_path, monkeypatch):
    """Forgets the module, as another process would; returns whether it has been imported since."""
    (tmp_path / "maze_module.py").write_text(MAZE)
    monkeypatch.syspath_prepend(tmp_path)

    def forget():
        gymnasium.registry.pop("Maze-v0", None)
        return sys.modules.pop("maze_module", None) is not None

    yield forget
    forget()


def refused(monkeypatch, capsys, *arguments):
    """What a command says that ends with exit code 2."""
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, *arguments)
    assert end.value.code == 2
    return capsys.readouterr().err


def test_the_users_own_module_is_trusted_and_printed_commands_trust_it(tmp_path, monkeypatch, capsys, maze):
    flags = [text if text != "Chain" else "maze_module:Maze-v0" for text in FLAGS]
    run = tmp_path / "run"
    assert call(monkeypatch, *flags, "--run-dir", run) == 0
    assert maze()
    command = re.fullmatch(r"finished 60 steps: python (scripts/evaluate.py .*) evaluates the model", last(capsys))[1]
    assert command == f"scripts/evaluate.py {run} --trust"
    monkeypatch.setattr(sys, "argv", [*shlex.split(command), "--episodes", "1"])
    assert evaluate.main("A program.") == 0
    assert maze()

    for file in ("--resume", "--config"):  # of a stranger: nothing is imported unless the command line trusts it
        said = refused(monkeypatch, capsys, file, run, "--steps", 80)
        assert f"{run} learned in maze_module:Maze-v0, for which a module" in said
        assert not maze()
    with monkeypatch.context() as patch:
        changed(patch, interrupted_in_training)
        assert call(patch, "--resume", run, "--steps", 90, "--trust") == 143
    assert maze()
    command = re.search(r"with a checkpoint: python (.*) continues the run", last(capsys))[1]
    assert command == f"scripts/train_dqn.py --resume {run} --trust"
    assert call(monkeypatch, *shlex.split(command)[1:]) == 0
    assert maze()
    assert call(monkeypatch, "--config", run, "--steps", 40, "--run-dir", tmp_path / "other", "--trust") == 0
    assert maze()
    assert call(monkeypatch, "--config", run, "--env", "maze_module:Maze-v0", "--run-dir", tmp_path / "named") == 0

    with pytest.raises(ValueError, match="add --trust"):
        load(run)
    maze()
    with load(run, trust=True, device="cpu") as agent:
        assert agent.evaluate(episodes=2).mean == 1.0
        assert agent.learn(10).steps == 100
    assert maze()


def last(capsys):
    return capsys.readouterr().out.splitlines()[-1]


def test_trust_without_a_file_is_refused(monkeypatch, capsys):
    assert "--trust is for a run that --resume or --config names: leave it out" in refused(
        monkeypatch, capsys, *FLAGS, "--trust"
    )


def test_a_large_networks_command_trusts_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("agents.learner.saved_network.MOST_NUMBERS", 33)
    assert call(monkeypatch, *FLAGS, "--run-dir", tmp_path / "run") == 0
    command = re.search(r"python (scripts/evaluate.py .*) evaluates the model", last(capsys))[1]
    monkeypatch.setattr(sys, "argv", [*shlex.split(command), "--episodes", "1"])
    assert evaluate.main("A program.") == 0
    monkeypatch.setattr(sys, "argv", shlex.split(command.replace(" --trust", "")))
    with pytest.raises(SystemExit):
        evaluate.main("A program.")
    assert "numbers: add --trust" in capsys.readouterr().err
