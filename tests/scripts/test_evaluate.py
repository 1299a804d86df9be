import json
from functools import partial

import pytest

from tests.scripts.processes import call, refused_by, train

refused = partial(refused_by, "evaluate")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run"
    train(
        path,
        "--steps",
        900,
        "--learning-rate",
        3e-3,
        "--epsilon-steps",
        500,
        "--eval-interval",
        0,
        "--target-interval",
        50,
    )
    return path


def test_a_run_that_solved_the_chain_scores_1(run_dir):
    result = call("evaluate", run_dir, "--episodes", 5, "--device", "cpu")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("Chain: 1.0 ± 0.0 over 5 whole games (epsilon 0, model.safetensors of step 9")


def test_options_come_through(run_dir):
    result = call(
        "evaluate", run_dir, "--episodes", 2, "--epsilon", 0.5, "--model", "last", "--seed", 1, "--num-envs", 1
    )
    assert "over 2 whole games (epsilon 0.5, model.safetensors" in result.out


def test_bad_input_is_one_line(run_dir, tmp_path):
    refused(tmp_path, saying=["is not the folder of a run"])
    refused(tmp_path / "nowhere", saying=["is not the folder of a run"])
    refused(run_dir, "--model", "best", saying=["has no best.safetensors yet"])
    refused(run_dir, "--device", "nonsense", saying=["'nonsense' is not available"])
    refused(run_dir, "--episodes", 0, saying=["episodes must be at least 1, got 0"])
    refused(run_dir, "--num-envs", 0, saying=["num_envs must be at least 1, got 0"])
    refused(run_dir, "--episodes", "x", saying=["--episodes", "'x'"])
    refused(run_dir, "--foo", saying=["--foo"])
    refused(saying=["name PATH: folder of the run\n"])
    refused(run_dir, "--video", saying=["no picture"])
    assert not (run_dir / "videos").exists()


def test_a_model_of_a_stranger_that_fits_nothing_is_refused(run_dir, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.json").write_text(json.dumps({"step": 1}))
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    refused(tmp_path, saying=["model.safetensors", "damaged or not written by wnrl"])
