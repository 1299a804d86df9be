"""scripts/train_pqn.py as a shell calls it."""

import pytest

from tests.products import mostly_slow
from tests.scripts.processes import call, checkpoints, model, read_json, read_progress, refused_by
from wnrl.checkpoints.tensor_files import read_model

CHAIN = ["--env", "Chain", "--hidden", "16", "--device", "cpu", "--num-envs", "3", "--rollout-length", "10"]
CHAIN += ["--minibatches", "3", "--epochs", "2", "--log-interval", "60", "--eval-interval", "150"]
CHAIN += ["--eval-episodes", "4", "--checkpoint-interval", "100", "--epsilon-steps", "200"]
SOLVE = ["--steps", "1500", "--learning-rate", "1e-2", "--epochs", "4", "--epsilon-end", "0.3"]


def train(run_dir, *arguments):
    result = call("train_pqn", *CHAIN, "--run-dir", run_dir, *arguments)
    assert result.code == 0, result.err
    return result


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of 450 steps from beginning to end, and what it said."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    return run_dir, train(run_dir, "--steps", 450)


def test_a_run_says_what_it_does_and_writes_its_folder(whole):
    run_dir, result = whole
    assert result.out.startswith(f"training in {run_dir}\n")
    assert "evaluation return" in result.out
    assert result.err == ""
    assert {"config.json", "progress.csv", "model.safetensors", "best.safetensors"} <= {
        path.name for path in run_dir.iterdir()
    }
    description = read_model(run_dir / "model")[1]
    assert (description["agent"], description["play"]) == ("pqn", {"epsilon": 0.0})


def test_figures_are_written(whole):
    rows = [row for row in read_progress(whole[0]) if row["train/n_updates"]]
    assert [int(row["step"]) // 60 for row in rows] == list(range(1, 8))
    last = rows[-1]
    assert int(last["train/n_updates"]) % 6 == 0
    assert float(last["rollout/exploration_rate"]) == pytest.approx(0.1)
    assert float(rows[0]["rollout/exploration_rate"]) == pytest.approx(1 - 0.9 * int(rows[0]["step"]) / 200)
    assert all(last[tag] for tag in ("train/loss", "train/td_error", "train/q_mean", "train/learning_rate"))


@pytest.mark.parametrize("cut", mostly_slow([230, 20]))
def test_a_run_cut_in_two_is_the_uncut_run(whole, tmp_path, cut):
    """Cut inside a rollout, with the learning rate of the whole run."""
    run_dir, constant = tmp_path / "run", ["--learning-rate-schedule", "constant"]
    train(tmp_path / "uncut", "--steps", 450, *constant)
    train(run_dir, "--steps", cut, *constant)
    result = call("train_pqn", "--resume", run_dir, "--steps", 450)
    assert result.code == 0, result.err
    assert f"in {run_dir}" in result.out
    assert model(run_dir) == model(tmp_path / "uncut")
    assert read_progress(run_dir) == read_progress(tmp_path / "uncut")
    assert checkpoints(run_dir)[-1] == checkpoints(tmp_path / "uncut")[-1]


def test_epsilon_falls_over_a_share_of_the_steps_that_are_asked_for(tmp_path):
    result = call("train_pqn", "--env", "Chain", "--steps", 100, "--num-envs", 2, "--run-dir", tmp_path / "run")
    assert result.code == 0, result.err
    settings = read_json(tmp_path / "run" / "config.json")["settings"]
    assert settings["epsilon_steps"] == 20


@pytest.mark.parametrize("norm", mostly_slow(["weight", "layer"]))
def test_a_run_that_solved_the_chain_scores_1(tmp_path, norm):
    train(tmp_path / "run", *SOLVE, "--norm", norm)
    result = call("evaluate", tmp_path / "run", "--episodes", 5, "--device", "cpu", "--model", "last")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("Chain: 1.0 ± 0.0 over 5 whole games (epsilon 0, model.safetensors of step 1")


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (["--env", "Pendulum-v1"], ["PQN takes discrete actions"]),
        (["--env", "Chain", "--steps", "abc"], ["--steps", "'abc'"]),
        (["--env", "Chain", "--minibatches", "1000000"], ["minibatches must be at most"]),
        (["--env", "Chain", "--q-lambda", "2"], ["q_lambda must lie between 0 and 1, got 2"]),
        (["--env", "Chain", "--preset", "nature"], ["unknown preset 'nature'"]),
        (["--env", "Chain", "--replay-size", "10"], ["--replay-size"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, arguments, saying):
    monkeypatch.chdir(tmp_path)
    refused_by("train_pqn", *arguments, saying=saying)
    assert list(tmp_path.iterdir()) == []


def test_help_names_the_flags_and_their_units():
    result = call("train_pqn", "--help-all")
    assert result.code == 0
    for flag in ("--game", "--norm", "--rollout-length", "--q-lambda", "--minibatches", "--epsilon-steps", "--resume"):
        assert flag in result.out
    assert "Steps of each environment per rollout" in result.out
