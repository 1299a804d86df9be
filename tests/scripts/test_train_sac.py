"""scripts/train_sac.py as a shell calls it."""

import pytest

from tests.products import mostly_slow
from tests.scripts.processes import call, checkpoints, model, read_json, read_progress, refused_by
from wnrl.checkpoints.tensor_files import read_model

CHAIN = ["--env", "Chain", "--hidden", "16", "--device", "cpu", "--num-envs", "3", "--batch-size", "8"]
CHAIN += ["--train-interval", "2", "--learning-starts", "50", "--log-interval", "60", "--eval-interval", "150"]
CHAIN += ["--eval-episodes", "4", "--checkpoint-interval", "100"]
SOLVE = ["--steps", "800", "--learning-rate", "5e-3", "--gamma", "0.9", "--batch-size", "16"]


def train(run_dir, *arguments):
    result = call("train_sac", *CHAIN, "--run-dir", run_dir, *arguments)
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
    tensors, description = read_model(run_dir / "model")
    assert (description["agent"], description["play"]) == ("sac", {"sample": False})
    assert {name.split(".torso")[0].split(".head")[0] for name in tensors} == {"policy", "critics.0", "critics.1"}


def test_figures_are_written(whole):
    rows = [row for row in read_progress(whole[0]) if row["train/n_updates"]]
    assert [int(row["step"]) // 60 for row in rows] == list(range(1, 8))
    assert all(int(row["train/n_updates"]) == (int(row["step"]) - 50) // 2 for row in rows)
    names = ("loss", "critic_loss", "policy_loss", "td_error", "q_mean", "entropy", "temperature", "learning_rate")
    assert all(rows[-1][f"train/{name}"] for name in names)
    assert float(rows[-1]["train/temperature"]) != float(rows[0]["train/temperature"])


@pytest.mark.parametrize("cut", mostly_slow([230, 40]))
def test_a_run_cut_in_two_is_the_uncut_run(whole, tmp_path, cut):
    """Cut while it learns, and before."""
    run_dir = tmp_path / "run"
    train(run_dir, "--steps", cut)
    result = call("train_sac", "--resume", run_dir, "--steps", 450)
    assert result.code == 0, result.err
    assert f"in {run_dir}" in result.out
    assert model(run_dir) == model(whole[0])
    assert read_progress(run_dir) == read_progress(whole[0])
    assert checkpoints(run_dir)[-1] == checkpoints(whole[0])[-1]


@pytest.mark.parametrize(
    "temperature",  # from 1.0 on, entropy is worth more than the end
    mostly_slow([["--temperature-start", "0.1"], ["--temperature", "0.05"]]),
)
def test_a_run_that_solved_the_chain_scores_1(tmp_path, temperature):
    train(tmp_path / "run", *SOLVE, *temperature)
    result = call("evaluate", tmp_path / "run", "--episodes", 5, "--device", "cpu", "--model", "last")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("Chain: 1.0 ± 0.0 over 5 whole games")


def test_a_fixed_temperature_goes_on_as_it_was(tmp_path):
    train(tmp_path / "run", "--steps", 100, "--temperature", "0.2")
    assert read_json(tmp_path / "run" / "config.json")["settings"]["temperature"] == 0.2
    result = call("train_sac", "--resume", tmp_path / "run", "--steps", 150)
    assert result.code == 0, result.err
    shown = [float(row["train/temperature"]) for row in read_progress(tmp_path / "run") if row["train/temperature"]]
    assert shown == pytest.approx([0.2] * 2)


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (["--env", "Pendulum-v1"], ["SAC takes discrete actions"]),
        (["--env", "Chain", "--temperature", "-1"], ["temperature must not be negative, got -1"]),
        (["--env", "Chain", "--temperature", "warm"], ["--temperature", "'warm'"]),
        (["--env", "Chain", "--temperature", "0.2", "--target-entropy", "0.7"], ["without temperature auto"]),
        (["--env", "Chain", "--critic", "max"], ["--critic", "'max'"]),
        (["--env", "Chain", "--learning-starts", "1", "--num-envs", "8"], ["learning_starts must be at least"]),
        (["--env", "Chain", "--preset", "nature"], ["unknown preset 'nature'"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, arguments, saying):
    monkeypatch.chdir(tmp_path)
    refused_by("train_sac", *arguments, saying=saying)
    assert list(tmp_path.iterdir()) == []


def test_help_names_the_flags_and_their_units():
    result = call("train_sac", "--help-all")
    assert result.code == 0
    for flag in ("--game", "--norm", "--temperature", "--target-entropy", "--critic", "--replay-size", "--resume"):
        assert flag in result.out
    assert "in units of a return" in " ".join(result.out.split())
