"""Runs of earlier commits, as they were left, are continued and evaluated; `earlier_runs/AGE-AGENT` is one made that
many commits before `config.json` had a format: train_AGENT.py --env CartPole-v1 --steps 300 --log-interval 100
--num-envs 2 --hidden 4 --eval-interval 200 --eval-episodes 1 --device cpu, with --learning-starts 100 --replay-size 150
--batch-size 8 for dqn and --rollout-length 16 for ppo."""

import shutil
from pathlib import Path

import pytest

from tests.scripts.processes import call, checkpoints, read_json, read_progress

RUNS = Path(__file__).parent / "earlier_runs"


@pytest.fixture(params=sorted(path.name for path in RUNS.iterdir()))
def run_dir(request, tmp_path):
    return shutil.copytree(RUNS / request.param, tmp_path / request.param)


def test_a_run_goes_on(run_dir):
    agent = run_dir.name.partition("-")[2]
    before = read_json(run_dir / "config.json")
    (step,) = checkpoints(run_dir)
    result = call(f"train_{agent}", "--resume", run_dir, "--steps", step + 20)
    assert result.code == 0, result.err
    assert f"resuming at step {step} in" in result.out
    assert checkpoints(run_dir)[-1] >= step + 20
    assert [int(row["step"]) for row in read_progress(run_dir)][:3]
    after = read_json(run_dir / "config.json")
    first, second = after["starts"]
    assert first["git_commit"] == before["git_commit"]
    assert (first["first_step"], second["first_step"]) == (0, step)
    assert second["changed"]["steps"] == {"from": 300, "to": step + 20}
    assert call(f"train_{agent}", "--resume", run_dir, "--steps", step + 40).code == 0  # as a run of this version


def test_the_policy_layer_that_was_normalized_stays_so(tmp_path):
    """`normalize_output` None came to leave it out between the commits."""
    for name, normalized in (("150-ppo", True), ("80-ppo", True), ("40-ppo", False), ("12-ppo", False)):
        path = shutil.copytree(RUNS / name, tmp_path / name)
        assert call("train_ppo", "--resume", path, "--steps", 340).code == 0
        settings = read_json(path / "config.json")["settings"]
        assert settings["normalize_output"] is (True if normalized else None)


def test_where_a_run_cannot_go_on_the_line_names_the_commit_to_go_back_to(tmp_path):
    path = shutil.copytree(RUNS / "80-ppo", tmp_path / "run")
    file = path / "config.json"
    file.write_text(file.read_text().replace('"normalize_output": null', '"normalize_output": false'))
    before = file.read_text()
    result = call("train_ppo", "--resume", path, "--steps", 400)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "It is of wnrl 0.1.0, git commit 8d482a064af71cdb191c01b605971cef813c83a3" in result.err
    assert file.read_text() == before


def test_a_run_is_evaluated(run_dir):
    result = call("evaluate", run_dir, "--episodes", 1, "--device", "cpu")
    assert result.code == 0, result.err
    assert result.out.startswith("CartPole-v1: ")


def test_the_settings_of_a_run_are_those_of_another(run_dir, tmp_path):
    agent = run_dir.name.partition("-")[2]
    again = tmp_path / "again"
    result = call(f"train_{agent}", "--config", run_dir / "config.json", "--seed", 1, "--steps", 20, "--run-dir", again)
    assert result.code == 0, result.err
    before, after = (read_json(path / "config.json")["settings"] for path in (run_dir, again))
    changed = {name for name, value in before.items() if after[name] != value} - {"normalize_output"}
    assert changed == {"seed", "steps", "run_dir"}


def test_a_run_begins_with_the_network_of_an_earlier_one(run_dir, tmp_path):
    agent = run_dir.name.partition("-")[2]
    flags = ["--env", "CartPole-v1", "--hidden", 4, "--device", "cpu", "--steps", 20]
    result = call(f"train_{agent}", *flags, "--init-from", run_dir, "--run-dir", tmp_path / "again")
    assert result.code == 0, result.err
