"""Runs on environments of Gymnasium that end at a checkpoint and go on."""

import numpy as np
import pytest

from tests.scripts.processes import call, checkpoints, model, read_json, read_progress
from wnrl.checkpoints.tensor_files import read_checkpoint, write_checkpoint

FLAGS = {
    "dqn": ["--learning-starts", 100, "--batch-size", 16, "--num-envs", 2],
    "ppo": ["--rollout-length", 16, "--num-envs", 4, "--schedule-steps", 500],
    "sac": ["--learning-starts", 100, "--batch-size", 16],
}
RUN = ["--env", "CartPole-v1", "--hidden", 16, "--device", "cpu", "--eval-episodes", 2, "--eval-interval", 200]
RUN += ["--log-interval", 50, "--steps", 500]
CUT = 250


def learn(agent, run_dir, *flags):
    result = call(f"train_{agent}", *RUN, *FLAGS[agent], "--run-dir", run_dir, *flags)
    assert result.code == 0, result.err


@pytest.fixture(scope="module", params=["dqn", "ppo", pytest.param("sac", marks=pytest.mark.slow)])
def whole(request, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    learn(request.param, run_dir)
    return request.param, run_dir


def killed(agent, run_dir):
    """What a run leaves that is killed in the middle of an episode, after a checkpoint: its file."""
    learn(agent, run_dir, "--checkpoint-interval", CUT)
    max((run_dir / "checkpoints").iterdir()).unlink()
    (step,) = checkpoints(run_dir)
    return run_dir / "checkpoints" / f"{step:012d}.safetensors"


def resume(agent, run_dir):
    result = call(f"train_{agent}", "--resume", run_dir)
    assert result.code == 0, result.err
    return result.out


def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(whole, tmp_path):
    agent, run_dir = whole[0], tmp_path / "run"
    state = read_checkpoint(killed(agent, run_dir))["trainer"]
    assert not state["timestep"]["last"].all()
    assert "new games" not in resume(agent, run_dir)
    assert model(run_dir) == model(whole[1])
    assert read_json(run_dir / "best.json") == read_json(whole[1] / "best.json")
    assert read_progress(run_dir) == read_progress(whole[1])
    assert len({row["rollout/ep_rew_mean"] for row in read_progress(run_dir)}) > 5


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(whole, tmp_path):
    agent, run_dir = whole[0], tmp_path / "run"
    learn(agent, run_dir, "--steps", CUT)
    result = call(f"train_{agent}", "--resume", run_dir, "--steps", 500)
    assert result.code == 0, result.err
    assert model(run_dir) == model(whole[1])
    assert read_progress(run_dir) == read_progress(whole[1])


def test_a_checkpoint_without_the_environment_starts_new_games(whole, tmp_path):
    """Those of earlier versions."""
    agent, run_dir = whole[0], tmp_path / "run"
    path = killed(agent, run_dir)
    state = read_checkpoint(path)
    del state["trainer"]["environment"], state["trainer"]["timestep"]
    write_checkpoint(path, state)
    assert "new games" not in resume(agent, run_dir)
    assert model(run_dir) != model(whole[1])


@pytest.mark.parametrize("damage", ["row", "environment"])
def test_a_state_that_does_not_fit_starts_new_games_and_says_so(tmp_path, damage):
    run_dir = tmp_path / "run"
    path = killed("dqn", run_dir)
    state = read_checkpoint(path)
    if damage == "row":
        state["trainer"]["timestep"]["obs"] = np.zeros((1, 3), np.float32)
    else:
        state["trainer"]["environment"]["tree"] = np.frombuffer(b'{"nodes":[],"roots":[]}', np.uint8)
    write_checkpoint(path, state)
    lines = [line for line in resume("dqn", run_dir).splitlines() if "new games" in line]
    assert len(lines) == 1
    assert lines[0].startswith("new games begin, the environments' state in the checkpoint does not fit: ")
