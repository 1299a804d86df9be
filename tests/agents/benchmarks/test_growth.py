"""agents.benchmarks.growth: what grows with the size of a run."""

import pytest
import torch

from agents.benchmarks import growth
from agents.benchmarks.commands import Growth
from agents.benchmarks.races import RaceTask

TASK = RaceTask(None, "CartPole-v1", "cpu", "float32")


def test_buffers_are_full_to_their_size_when_they_are_timed(monkeypatch):
    held = []
    our_replay, timed = growth.our_replay, growth.timed

    def spy_on_replay(kind, method):
        def make(num_envs, batch_size, capacity, device):
            store = our_replay(kind, method)(num_envs, batch_size, capacity, device)
            held.append([kind.__name__, capacity, 0])
            count = held[-1]

            def add():
                count[2] += num_envs
                store.add()

            return store._replace(add=add)

        return make

    def spy_on_timed(work, *arguments):
        assert all(added >= capacity for _, capacity, added in held)
        return timed(work, *arguments)

    monkeypatch.setattr(growth, "our_replay", spy_on_replay)
    monkeypatch.setattr(growth, "timed", spy_on_timed)
    sizes = {"num_envs": 2, "batch_size": 3, "rounds": 2, "times": 1, "device": torch.device("cpu")}
    figures = growth.fill_growth([100, 250], **sizes)
    names = ["Replay.add", "Replay.sample", "PrioritizedReplay.add", "PrioritizedReplay.sample_by_priority"]
    assert [*figures] == names
    assert [row[:2] for row in held] == [
        [name, size] for name in ("Replay", "PrioritizedReplay") for size in (100, 250)
    ]
    for rows in figures.values():
        assert [*rows] == ["100", "250"]
        assert rows["100"]["ratio"] == 1.0
        assert all(row["median"] > 0 for row in rows.values())


def test_agents_are_timed_with_each_size(monkeypatch):
    made = []
    our_trainer = growth.our_trainer

    def spy(race, task, norm, **changes):
        made.append((race.agent, norm, changes))
        return our_trainer(race, task, norm, **changes)

    monkeypatch.setattr(growth, "our_trainer", spy)
    rows = growth.environment_growth(TASK, [1, 3], norm="none", steps=16, rounds=1)
    assert [*rows] == ["1", "3"]
    rows = growth.rollout_growth(TASK, [2, 64], norm="weight", steps=8, rounds=1)
    assert [*rows] == ["2", "64"]
    assert made == [
        ("dqn", "none", {"num_envs": 1}),
        ("dqn", "none", {"num_envs": 3}),
        ("ppo", "weight", {"rollout_length": 2, "minibatches": 1}),
        ("ppo", "weight", {"rollout_length": 64, "minibatches": 2}),
    ]


def test_a_timing_is_of_whole_rollouts(monkeypatch):
    asked = []

    def our_side(trainer):
        return lambda steps: asked.append(steps) or steps

    monkeypatch.setattr(growth, "our_side", our_side)
    growth.rollout_growth(TASK, [2, 64], norm="none", steps=100, rounds=1)
    assert asked == [112, 512, 112, 512]  # 7 rollouts of 2 × 8 and one of 64 × 8; the first two are warm-up


def test_the_table_has_microseconds():
    rows = {"10": {"median": 2e-4, "ratio": 1.0}, "1,000": {"median": 3e-4, "ratio": 1.5}}
    rates = {"1": {"median": 250.0, "ratio": 1.0}}
    lines = [line.split() for line in growth.growth_table({"Replay.add": rows, "DQN": rates}).splitlines()]
    assert lines[0] == ["Replay.add", "µs", "ratio"]
    assert lines[1:3] == [["10", "200.0", "1.00"], ["1,000", "300.0", "1.50"]]
    assert lines[4:] == [["DQN", "steps/s", "µs", "ratio"], ["1", "250", "4000.0", "1.00"]]


def test_the_command_leaves_out_what_has_no_sizes(monkeypatch):
    monkeypatch.setattr("agents.benchmarks.commands.rollout_growth", lambda task, lengths, **sizes: {"8": sizes})
    monkeypatch.setattr("agents.benchmarks.commands.growth_table", str)
    figures, _ = Growth(fills=(), environments=(), rollouts=(8,), steps=5, rounds=1).measure(torch.device("cpu"))
    assert figures == {"PPO, rows of a rollout": {"8": {"norm": "weight", "steps": 5, "rounds": 1}}}
    with pytest.raises(ValueError, match="fills must be at least 1, got 0"):
        Growth(fills=(0, 3))
