import pytest
import torch
from torch import nn

from agents.registry import AGENTS
from agents.settings.flat import from_flat
from agents.settings.run import TrainSettings
from agents.training.progress import TerminalProgress
from agents.training.run import Run
from agents.training.summary import advice, machine, parameters, parts, summary
from agents.training.task import Task
from tests.agents.contract import differences
from wnrl.checkpoints.tensor_files import read_model


def settings_of(agent, **values):
    spec = AGENTS[agent]
    base = {"device": "cpu", "precision": "float32", "steps": 60, "eval_interval": 0}
    return from_flat(TrainSettings[spec.settings], {**base, **values})


def lines_of(agent, total_steps=1_000_000, **values):
    """The lines before a run of an agent, by their first word."""
    settings = settings_of(agent, **values)
    environment = Task(settings.run.task).training(settings.run.num_envs)
    try:
        built = AGENTS[agent].build(settings.run, settings.agent, environment)
        lines = summary(agent, settings, built, environment, total_steps)
    finally:
        environment.close()
    assert all(len(line) < 80 for line in lines)
    return {line[:11].rstrip(): line[11:] for line in lines}


def test_of_a_game(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    lines = lines_of("dqn", game="Breakout", num_envs=2, replay_size=100, init="he", seed=7, precision="bfloat16")
    assert lines == {
        "task": "Breakout, 2 environments, images of 4 x 84 x 84, 4 actions",
        "network": "NatureCNN 512, 1,686,856 parameters",
        "normalizer": "weight, initialization he",
        "device": "cpu, 2 threads, matrix products in bfloat16",
        "preset": "fast for dqn, seed 7: 1,000,000 steps (4,000,000 frames)",
        "on a CPU": "--steps 200000 scored 24.6 in one run (random: 1.7)",
    }


def test_of_another_task():
    lines = lines_of("ppo", env="Pendulum-v1", hidden=(8, 4), norm="none", total_steps=500, separate=False)
    assert list(lines) == ["task", "network", "normalizer", "device", "preset"]
    assert lines["task"] == "Pendulum-v1, 8 environments, observations of 3, continuous actions"
    weights = 3 * 8 + 8 + 8 * 4 + 4 + 4 * 1 + 1 + 1 + 4 * 1 + 1  # torso, mean, log standard deviation, value
    assert lines["network"] == f"MLP 8-4, {weights} parameters"
    assert lines["normalizer"] == "none, initialization preserve"
    assert lines["preset"] == "fast for ppo, seed 0: 500 steps"


def test_weight_normalization_has_a_g_for_each_row():
    plain, normalized = (lines_of("pqn", env="Chain", hidden=(8,), norm=norm)["network"] for norm in ("none", "weight"))
    numbers = [int(line.split(", ")[1].split()[0]) for line in (plain, normalized)]
    assert numbers[1] - numbers[0] == 8 + 2  # two actions


@pytest.mark.parametrize(
    ("values", "network"),
    [
        ({"dueling": True, "noisy": True, "epsilon_start": 0.0, "epsilon_end": 0.0}, "MLP 8 dueling noisy"),
        ({"distribution": "quantile", "quantiles": 5}, "MLP 8 quantile"),
    ],
)
def test_what_else_a_network_is_made_of(values, network):
    assert lines_of("dqn", env="Chain", hidden=(8,), **values)["network"].split(",")[0] == network


def test_of_a_recurrent_network():
    assert lines_of("ppo", env="Chain", hidden=(8,), lstm=3)["network"].split(",")[0] == "MLP 8 LSTM 3"


def test_a_network_that_is_not_ours():
    assert parts(nn.Sequential(nn.Linear(2, 3)), {}) == "Sequential"
    network = nn.Linear(2, 3)
    network.bias.requires_grad_(False)
    assert parameters(network) == 6


def test_one_thread_is_no_plural(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert machine(torch.device("cpu"), torch.float32) == "cpu, 1 thread, matrix products in float32"


@pytest.mark.parametrize("steps", [200_000, 60])
def test_a_run_that_is_short_already_gets_no_advice(steps):
    assert "on a CPU" not in lines_of("dqn", game="Pong", num_envs=2, replay_size=100, total_steps=steps)


def test_advice_is_what_was_measured():
    """As docs/results.md has it, "Breakout with DQN", after 200,000 steps."""
    measured = "--steps 200000 scored 17.1 in one run (random: 1.7)"
    assert advice("dqn", "fast", "none", "ALE/Breakout-v5") == {"on a CPU": measured}
    elsewhere = "--steps 200000 scored 24.6 in Breakout in one run (random: 1.7)"
    assert advice("dqn", "fast", "weight", "Pong") == {"on a CPU": elsewhere}
    for name, preset, norm in [("ppo", "fast", "weight"), ("dqn", "paper", "weight"), ("dqn", "fast", "layer")]:
        assert advice(name, preset, norm, "Breakout") == {}


def test_a_run_shows_the_lines_once_and_a_display_changes_no_bit(tmp_path, capsys):
    """A run that is shown, in two calls, ends with the model of one that is not."""
    for name, progress in [("shown", TerminalProgress(bar=True)), ("not", None)]:
        values = {"env": "Chain", "hidden": (4,), "num_envs": 1, "learning_starts": 20, "batch_size": 4}
        settings = settings_of("dqn", run_dir=tmp_path / name, **values)
        with Run(AGENTS["dqn"], settings, progress=progress) as run:
            run.learn(40)
            run.learn(60)
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out] == [
        *("training", "task", "network", "normalizer", "device", "preset"),
        "resuming",
    ]
    models = [read_model(tmp_path / name / "model") for name in ("shown", "not")]
    assert not differences(*models)
