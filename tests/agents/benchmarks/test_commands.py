"""agents.benchmarks.commands: what the benchmark can measure beside races."""

import pytest
import torch

from agents.benchmarks import commands

CPU = torch.device("cpu")


@pytest.mark.parametrize(("kind", "name"), [(commands.Replays, "capacity"), (commands.Emulation, "num_envs")])
def test_numbers_below_1_are_refused(kind, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        kind(**{name: 0})


@pytest.mark.parametrize("groups", [(), (0,), (1, 9)])
def test_groups_that_cannot_be(groups):
    with pytest.raises(ValueError, match=r"^groups must be from 1 to num_envs, 8, got \("):
        commands.Emulation(groups=groups)


def test_replays_are_measured():
    figures, table = commands.Replays(capacity=100, rounds=1, calls=1).measure(CPU)
    assert figures.keys() == {"bytes a step", "store", "sample"}
    assert "PrioritizedReplay" in table


def test_the_calls_of_an_update_are_counted():
    figures, table = commands.UpdateCalls(updates=1, tree=True).measure(CPU)
    assert figures["median"]["calls"] > figures["median"]["functions"] > figures["median"]["files"] > 1
    assert "jumps between files" in table
    assert len(table.splitlines()) == 6 + len(figures["calls"])


def test_the_hosts_atari_environments_are_played_or_learned_in(monkeypatch):
    found = []

    def figures(task, *algorithm, **sizes):
        found.append((task.game, algorithm, sizes))
        return {"summary": {"A": {"median": 2.0, "ratio": 1.0}}, "scores": {"A": [(10, 0.5), (20, 1.5)]}}

    monkeypatch.setattr(commands, "playing_rates", figures)
    monkeypatch.setattr(commands, "learning_rates", figures)
    assert "scores" in commands.SB3Atari(game="Pong", steps=5).measure(CPU)[0]
    _, table = commands.SB3Atari(algo="ppo", seed=3, num_envs=2, rounds=1).measure(CPU)
    assert found[0] == ("Pong", (), {"num_envs": 8, "steps": 5, "rounds": 7})
    assert found[1] == ("Breakout", ("ppo",), {"num_envs": 2, "steps": 4_096, "rounds": 1, "seed": 3})
    assert table.splitlines()[-1].split() == ["20", "1.5"]
