"""scripts/sweep.py: whole sweeps under Ray."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray")
ROOT = Path(__file__).parents[2]
SMALL = ["--envs", "CartPole-v1", "--norms", "weight", "--log-interval", "200", "--eval-interval", "0"]


def start(out, *arguments):
    command = [sys.executable, str(ROOT / "scripts" / "sweep.py"), "--out", str(out), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def ended(process):
    out, err = process.communicate(timeout=400)
    return process.returncode, out, err


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def wait_for(condition, process):
    end = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_sweep(tmp_path):
    """Two runs, one of them of stable-baselines3; the same command again finds both finished."""
    arguments = ["--agents", "a2c", "sb3-a2c", "--seeds", 1, "--steps", 600, *SMALL]
    code, out, err = ended(start(tmp_path / "out", *arguments))
    assert (code, err) == (0, "")
    assert out.startswith(f"2 runs of 2 kinds, 0 of them finished, in {tmp_path / 'out'}\nstarting Ray\n[1/2] ")
    assert [row["steps"] for row in rows(tmp_path / "out" / "trials.csv")] >= ["600", "600"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("sweep.json", "runs", "output", "trials.csv", "scores.csv")
    }
    again = ended(start(tmp_path / "out", *arguments))
    assert again[0] == 0
    assert "2 of them finished" in again[1]
    assert "[1/2]" not in again[1]


@pytest.mark.slow
def test_a_killed_sweep_ends_with_the_same_table(tmp_path):
    arguments = ["--agents", "dqn", "--seeds", 2, "--steps", 6_000, "--checkpoint-interval", 1_000, *SMALL]
    whole = ended(start(tmp_path / "whole", *arguments))
    assert whole[0] == 0
    process = start(tmp_path / "killed", *arguments)
    checkpoints = tmp_path / "killed" / "runs" / "dqn-CartPole-v1-weight-s0" / "checkpoints"
    wait_for(lambda: checkpoints.is_dir() and len([*checkpoints.glob("*.safetensors")]) == 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    code, out, err = ended(start(tmp_path / "killed", *arguments))
    assert (code, err) == (0, "")
    assert "resuming at step" in (tmp_path / "killed" / "output" / "dqn-CartPole-v1-weight-s0.txt").read_text()
    for name in ("trials.csv", "scores.csv"):
        assert (tmp_path / "killed" / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert out.splitlines()[-3:] == [line.replace("whole", "killed") for line in whole[1].splitlines()[-3:]]


@pytest.mark.slow
def test_a_sweep_that_gets_more_steps_ends_as_one_that_had_them(tmp_path):
    arguments = ["--agents", "ppo", "--seeds", 1, "--schedule-steps", 4_000, *SMALL]
    for out, steps in (("longer", 2_000), ("longer", 4_000), ("whole", 4_000)):
        assert ended(start(tmp_path / out, *arguments, "--steps", steps))[0] == 0
    printed = (tmp_path / "longer" / "output" / "ppo-CartPole-v1-weight-s0.txt").read_text()
    assert "resuming at step 2,0" in printed
    for name in ("trials.csv", "scores.csv", "runs/ppo-CartPole-v1-weight-s0/model.safetensors"):
        assert (tmp_path / "longer" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_sweep_leaves_checkpoints(tmp_path, number):
    """Also where no checkpoint was due yet."""
    arguments = ["--agents", "dqn", "--seeds", 1, "--steps", 50_000, "--checkpoint-interval", 50_000, *SMALL]
    process = start(tmp_path / "out", *arguments)
    folder = tmp_path / "out" / "runs" / "dqn-CartPole-v1-weight-s0"
    wait_for(lambda: (folder / "progress.csv").exists(), process)
    process.send_signal(number)
    code, _, err = ended(process)
    if number != signal.SIGKILL:
        assert code == 128 + number
        assert err == "stopped: each run leaves a checkpoint, and the same command goes on\n"
    end = time.monotonic() + 60
    while not [*folder.glob("checkpoints/*.safetensors")]:
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_a_trial_that_dies_goes_on_and_one_that_always_fails_is_named(tmp_path):
    arguments = ["--agents", "dqn", "--seeds", 1, "--steps", 6_000, "--checkpoint-interval", 1_000, *SMALL]
    process = start(tmp_path / "out", *arguments)
    folder = tmp_path / "out" / "runs" / "dqn-CartPole-v1-weight-s0"
    wait_for(lambda: [*folder.glob("checkpoints/*.safetensors")], process)
    command = subprocess.run(["pgrep", "-f", "--", f"--run-dir {folder}"], capture_output=True, text=True, check=True)
    for number in command.stdout.split():
        os.kill(int(number), signal.SIGKILL)
    code, out, _ = ended(process)
    assert code == 0
    assert "dqn-CartPole-v1-weight-s0 broke off and starts again: exit code -9" in out
    assert "resuming at step" in (tmp_path / "out" / "output" / f"{folder.name}.txt").read_text()
    (tmp_path / "fails.py").write_text(
        "import gymnasium\nclass Fails(gymnasium.Env):\n"
        "    observation_space, action_space = gymnasium.spaces.Box(0, 1, (2,)), gymnasium.spaces.Discrete(2)\n"
        "    def reset(self, **options):\n        return self.observation_space.sample(), {}\n"
        "    made = 0\n"
        "    def step(self, action):\n        self.made += 1\n        if self.made > 20:\n"
        "            raise OSError('no simulator')\n"
        "        return self.observation_space.sample(), 0.0, False, False, {}\n"
        "gymnasium.register('Fails-v0', Fails)\n"
    )
    command = [sys.executable, str(ROOT / "scripts" / "sweep.py"), "--out", "bad", "--agents", "a2c", "--seeds", "1"]
    command += ["--steps", "600", "--envs", "fails:Fails-v0", "--norms", "none", "--retries", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400)
    assert done.returncode == 1
    assert "failed: exit code 1: " in done.stdout
    assert "no simulator" in done.stdout
    assert "1 of 1 runs have not finished" in done.stderr


@pytest.mark.slow
def test_a_trial_whose_learning_breaks_down_is_not_tried_again(tmp_path):
    """It is an outcome: SGD at such a rate diverges, and would so again."""
    arguments = ["--agents", "dqn", "--seeds", 1, "--steps", 2_000, *SMALL, "--learning-starts", 200]
    arguments += ["--optimizer", "sgd", "--max-grad-norm", 0, "--learning-rate", "1e-3", "1e9"]
    code, out, err = ended(start(tmp_path / "out", *arguments))
    assert code == 0
    assert "broke off" not in out
    assert "broke down in 1 of 2 runs, dqn-CartPole-v1-weight-learning_rate=1e9-s0 for example, from there on" in err
    [broken] = [row for row in rows(tmp_path / "out" / "trials.csv") if row["broke down"]]
    assert broken["learning_rate"] == "1e9"
    assert float(broken["final score"]) <= float(broken["highest score"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of files that Ray leaves open
def test_two_nodes(tmp_path):
    """A cluster of two nodes on this machine, each with one core: both run trials at the same time."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        arguments = ["--address", cluster.address, "--agents", "a2c", "--seeds", 2, "--steps", 600, *SMALL]
        code, out, err = ended(start(tmp_path / "out", *arguments))
    finally:
        cluster.shutdown()
    assert (code, err) == (0, "")
    assert "[2/2]" in out
    lone = ended(start(tmp_path / "lone", *arguments[2:]))
    assert lone[0] == 0
    assert (tmp_path / "out" / "scores.csv").read_text() == (tmp_path / "lone" / "scores.csv").read_text()


@pytest.mark.slow
def test_a_search_that_draws(tmp_path):
    arguments = ["--agents", "a2c", "--steps", 900, *SMALL, "--tune", "learning_rate=1e-4:1e-2", "rollout_length=4:16"]
    code, out, _ = ended(start(tmp_path / "out", *arguments, "--samples", 3))
    assert code == 0
    samples = rows(tmp_path / "out" / "a2c-CartPole-v1-weight.samples.csv")
    assert len(samples) == 3
    assert all(1e-4 <= json.loads(row["learning_rate"]) <= 1e-2 for row in samples)
    best = max((row for row in samples if int(row["steps"]) >= 900), key=lambda row: float(row["score"]))
    assert f'learning_rate = "{best["learning_rate"]}"' in (tmp_path / "out" / "best.toml").read_text()
    code, out, _ = ended(start(tmp_path / "out", *arguments, "--samples", 4))
    assert code == 0
    assert out.count("] a2c-") == 1
    assert rows(tmp_path / "out" / "a2c-CartPole-v1-weight.samples.csv")[:3] == samples
