"""A run shared by two processes, as `torchrun` starts it."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from agents.commands.parser import parse
from agents.registry import AGENTS
from agents.runtime.distributed import OneProcess
from agents.training.run import Run
from tests.agents.contract import differences
from tests.agents.ranks import in_ranks
from tests.scripts.processes import CHAIN, SCRIPTS, read_json, read_progress, refused_by
from wnrl.checkpoints.checkpoints import Checkpoints

SHARED = [*CHAIN, "--num-envs", "4", "--init-batch", "50", "--log-interval", "50", "--eval-interval", "100"]


def torchrun(script, *arguments, processes=2):
    """Start `scripts/SCRIPT.py` in several processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += [str(SCRIPTS / f"{script}.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})


def finish(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def states(run_dir):
    """The last state of each process."""
    return [Checkpoints(folder).latest() for folder in (run_dir / "checkpoints", run_dir / "checkpoints" / "process-1")]


def test_a_run_of_two_processes(tmp_path, monkeypatch):
    """As threads of this one."""
    ranks_here = threading.local()
    monkeypatch.setattr("agents.training.run.join", lambda: getattr(ranks_here, "ranks", OneProcess()))
    settings = parse(AGENTS["dqn"], "", [*SHARED, "--steps", "200", "--run-dir", str(tmp_path / "run")])

    def learn(ranks):
        ranks_here.ranks = ranks
        with Run(AGENTS["dqn"], settings) as run:
            run.learn()

    in_ranks(learn)
    check_one_run(tmp_path / "run")


@pytest.mark.slow
def test_two_processes_make_one_run(tmp_path):
    run_dir = tmp_path / "run"
    code, out, err = finish(torchrun("train_dqn", *SHARED, "--steps", 200, "--run-dir", run_dir))
    assert code == 0, err
    assert out.count("training in") == out.count("finished 20") == 1
    check_one_run(run_dir)


def check_one_run(run_dir):
    """Two processes have made it together, in 200 steps."""
    (step, first), (same, second) = states(run_dir)
    assert 200 <= step == same < 204
    learners = [state["trainer"]["agent"]["learner"] for state in (first, second)]
    assert learners[0]["num_updates"] == learners[1]["num_updates"] == (step - 50) // 2
    for name, tensor in learners[0]["network"].items():
        assert tensor.equal(learners[1]["network"][name])
    replays = [state["trainer"]["agent"]["replay"] for state in (first, second)]
    assert replays[0]["config"]["num_envs"] == 2
    assert not replays[0]["generator"].equal(replays[1]["generator"])
    assert read_json(run_dir / "config.json")["settings"]["num_envs"] == 4
    rows = read_progress(run_dir)
    assert [int(row["step"]) // 50 for row in rows] == [1, 2, 3, 4]
    assert [bool(row["train/loss"]) for row in rows] == [int(row["step"]) >= 52 for row in rows]  # the first update
    refused_by(
        *("train_dqn", "--resume", run_dir, "--steps", 300),
        saying=["the run is one of 2 processes: start as many (torchrun --nproc-per-node 2)"],
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("train_ppo", ["--rollout-length", "16", "--normalize-obs"]),
        ("train_ppo", ["--rollout-length", "16", "--lstm", "4", "--minibatches", "1"]),
        ("train_a2c", []),
        ("train_a2c", ["--overlap-rollouts", "--normalize-return"]),
        ("train_pqn", ["--rollout-length", "16"]),
        ("train_sac", ["--batch-size", "8", "--learning-starts", "50", "--replay-size", "400"]),
    ],
)
def test_two_processes_make_one_run_of_any_agent(script, options, tmp_path):
    """They go on with the same network, from the joint data at the start to the last update."""
    shared = ["--env", "Chain", "--hidden", "8", "--device", "cpu", "--num-envs", "4", "--init", "data"]
    code, out, err = finish(torchrun(script, *shared, *options, "--steps", 400, "--run-dir", tmp_path))
    assert code == 0, err
    assert out.count("finished 40") == 1
    (step, first), (same, second) = states(tmp_path)
    assert 400 <= step == same < 404
    agents = [state["trainer"]["agent"] for state in (first, second)]
    assert agents[0]["learner"]["num_updates"] == agents[1]["learner"]["num_updates"] > 1
    assert not differences(dict(agents[0]["learner"]["network"]), dict(agents[1]["learner"]["network"]))
    assert agents[0].get("rewards") is None or agents[0]["rewards"].get("mean") == agents[1]["rewards"].get("mean")


@pytest.mark.slow
def test_two_processes_go_on_with_their_run(tmp_path):
    code, _, err = finish(torchrun("train_dqn", *SHARED, "--steps", 200, "--run-dir", tmp_path))
    assert code == 0, err
    (before, _), _ = states(tmp_path)
    code, out, err = finish(torchrun("train_dqn", "--resume", tmp_path, "--steps", 260))
    assert code == 0, err
    assert f"resuming at step {before}" in out
    (step, _), (same, _) = states(tmp_path)
    assert 260 <= step == same < 264

    code, out, err = finish(torchrun("train_dqn", "--resume", tmp_path, "--steps", 300, processes=1))
    assert code != 0
    assert "the run is one of 2 processes: start as many (torchrun --nproc-per-node 2)" in err


class Two(OneProcess):
    """The first of two processes, without the other."""

    world_size = 2


def test_an_agent_of_one_process_is_refused(monkeypatch):
    monkeypatch.setattr("agents.training.run.join", Two)
    message = "reinforce runs in one process: leave torchrun out"
    refused_by("train_reinforce", "--env", "Chain", "--device", "cpu", saying=[message])


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("train_reinforce", ["--env", "Chain"], "reinforce runs in one process: leave torchrun out"),
        ("train_ppo", ["--env", "Chain", "--num-envs", "3"], "num_envs 3 cannot be split among 2 processes"),
        ("train_dqn", [*CHAIN, "--num-envs", "3"], "num_envs 3 cannot be split among 2 processes"),
    ],
)
@pytest.mark.slow
def test_bad_input_is_said_once(script, arguments, message):
    code, _, err = finish(torchrun(script, *arguments))
    assert code != 0
    assert err.count(message) == 1


@pytest.mark.slow
def test_a_stop_leaves_checkpoints_of_the_same_step(tmp_path):
    process = torchrun("train_dqn", *SHARED, "--steps", 10_000_000, "--run-dir", tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "progress.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, out, err = finish(process)
    assert "with a checkpoint: torchrun --nproc-per-node 2 " in out, err
    assert f"train_dqn.py --resume {tmp_path} continues the run" in out
    steps = [step for step, _ in states(tmp_path)]
    assert steps[0] == steps[1] > 0
