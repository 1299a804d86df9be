import math
import os
import re
import signal
import threading
from functools import partial

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.registry import AGENTS
from agents.settings.flat import flat_defaults
from agents.settings.run import TrainSettings
from tests.products import mostly_slow
from tests.scripts.processes import (
    CHAIN,
    call,
    checkpoints,
    read_json,
    read_progress,
    refused_by,
    start,
    stopped_line,
    train,
)
from wnrl.checkpoints.tensor_files import read_model

refused = partial(refused_by, "train_dqn")

NUMBERS = [
    "--steps",
    450,
    "--log-interval",
    60,
    "--eval-interval",
    150,
    "--eval-episodes",
    4,
    "--checkpoint-interval",
    100,
]
TAGS = {
    "rollout/ep_rew_mean",
    "rollout/ep_len_mean",
    "rollout/exploration_rate",
    "eval/mean_reward",
    "eval/mean_ep_length",
    "train/loss",
    "train/learning_rate",
    "train/n_updates",
    "train/q_mean",
    "train/td_error",
    "train/grad_norm",
    "time/fps",
    "time/training_fps",
    "time/time_elapsed",
    *(f"weights/{layer}/{figure}" for layer in ("fc", "q") for figure in ("w_norm", "v_norm", "effective_lr")),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of 450 steps from beginning to end, and what it said."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    return run_dir, train(run_dir, *NUMBERS)


# What a run writes


def test_a_run_says_what_it_does(whole):
    run_dir, result = whole
    lines = result.out.splitlines()
    assert lines[0] == f"training in {run_dir}"
    row = next(line for line in lines if line.startswith("step "))
    assert row.startswith("step 6")
    assert "steps/s" in row
    assert "frames/s" not in result.out  # the chain has none
    assert any("evaluation return" in line for line in lines)
    assert lines[-1].endswith(f"steps: python scripts/evaluate.py {run_dir} evaluates the model")
    assert result.err == ""


def test_the_folder_is_complete(whole):
    run_dir, _ = whole
    names = {path.name for path in run_dir.iterdir() if not path.name.startswith("events.out.tfevents")}
    assert names == {
        *("config.json", "progress.csv", "evaluations.csv", "checkpoints"),
        *("model.safetensors", "model.json", "best.safetensors", "best.json"),
    }


def test_the_config_holds_every_argument(whole):
    run_dir, _ = whole
    settings = read_json(run_dir / "config.json")["settings"]
    assert (settings["steps"], settings["env"], settings["hidden"], settings["double"]) == (450, "Chain", [16], True)
    assert settings["run_dir"] == str(run_dir)


def test_two_checkpoints_are_kept(whole):
    run_dir, _ = whole
    last, final = checkpoints(run_dir)
    assert 400 <= last < 403
    assert 450 <= final < 453


def test_events_and_table_hold_the_same_scalars(whole):
    run_dir, _ = whole
    events = EventAccumulator(str(run_dir)).Reload()
    rows = read_progress(run_dir)
    assert set(events.Tags()["scalars"]) >= TAGS
    for tag in TAGS - {"time/fps", "time/training_fps", "time/time_elapsed"}:
        curve = [(event.step, event.value) for event in events.Scalars(tag)]
        table = [(int(row["step"]), np.float32(row[tag])) for row in rows if row[tag]]
        assert curve == table
        assert all(math.isfinite(value) for _, value in curve)


def test_rows_come_at_their_intervals(whole):
    rows = read_progress(whole[0])
    for tag, interval in (("train/n_updates", 60), ("eval/mean_reward", 150)):
        steps = [int(row["step"]) for row in rows if row[tag]]
        assert [step // interval for step in steps] == list(range(1, 450 // interval + 1))
        assert all(step % interval < 3 for step in steps)
    updates = [(int(row["step"]), int(row["train/n_updates"])) for row in rows if row["train/n_updates"]]
    assert all(count == max(0, step - 50) // 2 for step, count in updates)


def test_models_are_folded_and_described(whole):
    run_dir, _ = whole
    tensors, description = read_model(run_dir / "model")
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        "torso.layers.1.weight": (16, 5),
        "torso.layers.1.bias": (16,),
        "head.weight": (2, 16),
        "head.bias": (2,),
    }
    assert (description["agent"], description["env"], description["game"]) == ("dqn", "Chain", None)
    assert description["step"] == checkpoints(run_dir)[-1]


def test_the_best_model_has_the_best_score(whole):
    run_dir, _ = whole
    scores = {
        int(row["step"]): float(row["eval/mean_reward"]) for row in read_progress(run_dir) if row["eval/mean_reward"]
    }
    best = read_json(run_dir / "best.json")
    assert best["mean_reward"] == max(scores.values())
    assert best["step"] == max(scores, key=lambda step: (scores[step], -step))


def test_without_intervals_nothing_but_the_end_is_written(tmp_path):
    train(tmp_path / "run", "--steps", 100, "--eval-interval", 0, "--checkpoint-interval", 0)
    assert len(checkpoints(tmp_path / "run")) == 1
    assert not (tmp_path / "run" / "best.json").exists()


def test_the_default_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call("train_dqn", *CHAIN, "--steps", 60, "--seed", 4, "--norm", "none")
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert result.out.startswith(f"training in runs/{run_dir.name}\n")
    assert run_dir.name.startswith("Chain-dqn-none-s4-20")


def test_the_papers_evaluation_counts_steps(tmp_path):
    train(tmp_path / "run", "--steps", 100, "--eval-interval", 50, "--eval-steps", 250, "--eval-epsilon", 1.0)
    assert [row["eval/mean_reward"] for row in read_progress(tmp_path / "run") if row["eval/mean_reward"]]


# Variants


@pytest.mark.parametrize(
    "flags",
    mostly_slow(
        [
            ["--preset", "rainbow"],
            ["--munchausen", "--distribution", "implicit", "--dueling"],
            ["--preset", "rainbow", "--no-noisy", "--no-prioritized", "--distribution", "none"],
            ["--noisy", "--distribution", "quantile", "--quantiles", 20],
        ],
        ["--preset", "rainbow"],
        ["--munchausen", "--distribution", "implicit", "--dueling"],
    ),
)
def test_a_variant_cut_in_two_is_the_uncut_run_and_can_be_measured(tmp_path, flags):
    arguments = ["--steps", 200, "--checkpoint-interval", 100, "--eval-interval", 100, "--eval-episodes", 2, *flags]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(whole, *arguments)
    train(cut, *arguments)
    for path in cut.glob("checkpoints/*"):
        if int(path.stem) > 150:
            path.unlink()
    result = call("train_dqn", "--resume", cut)
    assert result.code == 0, result.err
    assert f"resuming at step {checkpoints_at(result.out)} in" in result.out
    assert model(cut) == model(whole)
    assert read_progress(cut) == read_progress(whole)
    assert call("evaluate", cut, "--episodes", 2, "--device", "cpu").out.startswith("Chain: ")


# Resuming


@pytest.mark.parametrize("cut", [230, 40])
def test_a_run_cut_in_two_is_the_uncut_run(whole, tmp_path, cut):
    run_dir = tmp_path / "run"
    train(run_dir, *NUMBERS, "--steps", cut)
    result = call("train_dqn", "--resume", run_dir, "--steps", 450)
    assert result.code == 0, result.err
    assert f"resuming at step {checkpoints_at(result.out)} in {run_dir}" in result.out
    assert model(run_dir) == model(whole[0])
    assert read_json(run_dir / "best.json") == read_json(whole[0] / "best.json")
    assert read_progress(run_dir) == read_progress(whole[0])


def model(run_dir):
    """The last model, to the bit."""
    tensors, description = read_model(run_dir / "model")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, description


def checkpoints_at(out):
    """The step that a resumed run says it begins at."""
    return out.split("resuming at step ")[1].split(" ")[0]


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(whole, tmp_path):
    run_dir = tmp_path / "run"
    train(run_dir, *NUMBERS, "--steps", 330)
    before, last = checkpoints(run_dir)
    file = run_dir / "checkpoints" / f"{last:012d}.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    result = call("train_dqn", "--resume", run_dir, "--steps", 450)
    assert result.code == 0
    assert f"{file} cannot be used, damaged or not finite: continuing from the one before" in result.out
    assert f"resuming at step {before} " in result.out
    assert model(run_dir) == model(whole[0])
    assert read_progress(run_dir) == read_progress(whole[0])
    assert EventAccumulator(str(run_dir)).Reload().Tags()["scalars"]


ENDLESS = [*CHAIN, "--steps", 10_000_000, "--log-interval", 100]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_a_checkpoint(tmp_path, number, code):
    """Here, where the signal comes at the first row."""
    run_dir, ended = tmp_path / "run", threading.Event()
    before, rows = signal.getsignal(number), run_dir / "progress.csv"

    def interrupt():
        while not ended.wait(0.02):
            if rows.is_file() and rows.read_text().count("\n") > 1:
                return os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        result = call("train_dqn", *ENDLESS, "--run-dir", run_dir)
    finally:
        ended.set()
        thread.join()
    (step,) = checkpoints(run_dir)
    assert (result.code, result.err) == (code, "")
    assert result.out.splitlines()[-1] == stopped_line("train_dqn", step, run_dir)
    assert signal.getsignal(number) == before


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_a_checkpoint_and_the_run_goes_on(tmp_path, number, code):
    run_dir = tmp_path / "run"
    process = start("train_dqn", *ENDLESS, "--run-dir", run_dir)
    for line in process.stdout:
        if line.startswith("step 2"):
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=60)
    (step,) = checkpoints(run_dir)
    assert (process.returncode, err) == (code, "")
    assert out.splitlines()[-1] == stopped_line("train_dqn", step, run_dir)
    result = call("train_dqn", "--resume", run_dir, "--steps", step + 40)
    assert result.code == 0
    assert f"resuming at step {step:,} in" in result.out
    assert read_json(run_dir / "model.json")["step"] >= step + 40


def test_a_change_of_the_task_is_refused_and_of_the_length_is_not(whole, tmp_path):
    run_dir, _ = whole
    for flags, name in ((["--norm", "none"], "norm"), (["--gamma", "0.5"], "gamma"), (["--num-envs", 2], "num-envs")):
        refused("--resume", run_dir, *flags, saying=[f"--{name} cannot change in a resumed run"])


def test_what_cannot_be_resumed_is_refused(tmp_path):
    refused("--resume", tmp_path, saying=["is not the folder of a run: it has no config.json"])
    train(tmp_path / "run", "--steps", 60)
    for file in (tmp_path / "run" / "checkpoints").iterdir():
        file.write_bytes(b"nonsense")
    refused("--resume", tmp_path / "run", "--steps", 90, saying=["no checkpoint to resume from", "damaged"])
    for file in (tmp_path / "run" / "checkpoints").iterdir():
        file.unlink()
    refused("--resume", tmp_path / "run", "--steps", 90, saying=["no checkpoint to resume from", "none was saved"])


def test_a_second_run_into_the_same_folder_is_refused(whole):
    run_dir, _ = whole
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    refused(*CHAIN, "--run-dir", run_dir, "--steps", 100, saying=["already holds files", f"--resume {run_dir}"])
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == before


# Bad input


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (["--game", "Brekout"], ["'Brekout'", "Breakout"]),
        (["--env", "CartPol-v1"], ["'CartPol-v1'", "CartPole-v1"]),
        (["--env", "Pendulum-v1"], ["DQN takes discrete actions", "use PPO or A2C"]),
        (["--env", "ALE/Pong-v5"], ["--game"]),
        (["--env", "Chain", "--steps", "0"], ["steps must be at least 1, got 0"]),
        (["--env", "Chain", "--num-envs", "0"], ["num_envs must be at least 1, got 0"]),
        (["--env", "Chain", "--norm", "wieght"], ["'wieght'", "nearest: weight"]),
        (["--env", "Chain", "--device", "cuda:7"], ["'cuda:7' is not available", "cpu"]),
        (["--env", "Chain", "--device", "nonsense"], ["'nonsense' is not available", "cpu"]),
        (["--env", "Chain", "--gamma", "2"], ["gamma must lie between 0 and 1, got 2"]),
        (["--env", "Chain", "--game", "Pong"], ["one of the two"]),
        ([], ["one of the two"]),
        (["--env", "Chain", "--preset", "nature"], ["preset 'nature' is defined for Atari games"]),
        (["--env", "Chain", "--preset", "slow"], ["'slow'", "fast, nature, paper, double, dueling"]),
        (["--env", "Chain", "--steps", "abc"], ["--steps", "'abc'"]),
        (["--env", "Chain", "--foo", "1"], ["--foo"]),
        (["--env", "Chain", "--init", "zero"], ["--init", "zero"]),
        (["--game", "Pong", "--hidden", "64", "64"], ["one hidden layer"]),
        (["--env", "Chain", "--replay-size", "2000000000000"], ["2000000000000"]),
        (["--env", "Chain", "--n-step", "0"], ["n_step must be at least 1, got 0"]),
        (["--env", "Chain", "--munchausen", "--double"], ["double does not combine with munchausen", "--no-double"]),
        (["--env", "Chain", "--noisy", "--epsilon-start", "0.5"], ["leave epsilon_start and epsilon_end out"]),
        (["--env", "Chain", "--atoms", "11"], ["atoms 11 has no effect without distribution categorical"]),
        (
            ["--env", "Chain", "--distribution", "categorical", "--quantiles", "9"],
            ["quantiles 9 has no effect without distribution quantile"],
        ),
        (
            ["--env", "Chain", "--distribution", "categorical", "--huber-delta", "2"],
            ["huber_delta 2.0 has no effect without a Huber loss"],
        ),
        (["--env", "Chain", "--priority-beta", "0.5"], ["priority_beta 0.5 has no effect without prioritized"]),
        (
            ["--env", "Chain", "--device", "cpu", "--graphs", "True"],
            ["graphs are captured on CUDA alone", "leave --graphs out"],
        ),
        (["--env", "Chain", "--distribution", "normal"], ["--distribution", "normal"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, arguments, saying):
    monkeypatch.chdir(tmp_path)
    refused(*arguments, saying=saying)
    assert list(tmp_path.iterdir()) == []


def test_a_replay_larger_than_memory_names_what_is_needed_and_free(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wnrl.device.free_memory", lambda device: 3_000_000_000)
    arguments = ["--game", "Pong", "--device", "cpu", "--replay-size", "1000000"]
    refused(
        *arguments,
        saying=["a replay of 1,000,000 steps needs 7.1 GB, 3.0 GB are free on cpu", "--replay-size 42"],
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    refused(*CHAIN, "--run-dir", tmp_path / "file" / "run", saying=["cannot write the run to", "file/run"])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("number", [["--learning-starts", "0"], ["--learning-starts", "1", "--n-step", "5"]])
def test_learning_that_starts_before_there_is_a_transition_is_refused(tmp_path, number):
    arguments = ["--env", "Chain", "--num-envs", 8, "--run-dir", tmp_path / "run", *number]
    refused(*arguments, saying=["learning_starts must be at least", "for 8 environments"])
    assert not (tmp_path / "run").exists()


def test_help_explains_every_flag_with_its_default(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    result = call("train_dqn", "--env", "Chain", "--help-all")
    assert result.code == 0
    text = " ".join(result.out.split())
    names = flat_defaults(TrainSettings[AGENTS["dqn"].settings])
    del names["own_torso"]  # of Python alone
    assert len(names) > 60
    for name in names:
        flag = f"--{name.replace('_', '-')}"
        said = re.search(rf"^  {flag}[ ,](.*(?:\n {{26}}.*)*)", result.out, re.MULTILINE)
        assert said, flag
        assert len(re.findall(r"[a-z]+", said[1])) >= 3, flag
        assert "(default: " in " ".join(said[1].split()) or names[name] in (None, ()), flag
    for flag in ("--game", "--env", "--norm", "--resume", "--replay-size", "--learning-starts", "--eval-interval"):
        assert flag in text
    assert "in steps" in text
    assert "in units of a return" in text


def test_the_defaults_in_the_help_are_the_presets():
    for flags, said in (([], "(default: 128)"), (["--preset", "rainbow"], "(default: categorical)")):
        assert said in " ".join(call("train_dqn", "--env", "Chain", *flags, "--help-all").out.split())
