"""Every seed that the settings take is good to the end of a run and for its evaluation; others are refused at once."""

import pytest

from tests.products import mostly_slow
from tests.scripts.processes import call

LARGEST = 2**64 - 1
GAME = ["--game", "ALE/Pong-v5", "--max-frames", 24, "--device", "cpu", "--num-envs", 2, "--eval-episodes", 2]
RUNS = {
    "train_dqn": ["--steps", 24, "--eval-interval", 8, "--replay-size", 100, "--learning-starts", 50, "--hidden", 16],
    "train_sb3": ["--algo", "a2c", "--steps", 24, "--eval-interval", 8, "--hyperparams", "n_steps:4"],
}


@pytest.mark.parametrize("seed", mostly_slow([2_147_000_000, 4_294_967_295, LARGEST], LARGEST))
@pytest.mark.parametrize("script", mostly_slow(["train_dqn", "train_sb3"]))
def test_a_run_and_its_evaluation_end_well(tmp_path, script, seed):
    """Those are near the limits of 31, 32 and 64 bits, some of which emulators and random generators have."""
    result = call(script, *GAME, *RUNS[script], "--seed", seed, "--run-dir", tmp_path / "run")
    assert result.code == 0, result.err
    assert (
        result.out.count("ALE/Pong-v5 means the game Pong: the id's own sticky actions (0.25) and frame skip (4)") == 1
    )
    result = call("evaluate", tmp_path / "run", "--episodes", 2, "--seed", seed, "--device", "cpu")
    assert result.code == 0, result.err
    assert "2 whole games" in result.out


@pytest.mark.parametrize("seed", [-1, LARGEST + 1])
@pytest.mark.parametrize("script", [*RUNS, "train_a2c", "evaluate"])
def test_another_seed_is_refused_at_the_start_in_one_line(tmp_path, script, seed):
    arguments = [tmp_path] if script == "evaluate" else ["--env", "CartPole-v1", "--run-dir", tmp_path / "run"]
    result = call(script, *arguments, "--seed", seed)
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert line.endswith("seed must not be negative, got -1" if seed < 0 else f"seed must be below 2**64, got {seed}")
    assert not (tmp_path / "run").exists()
