"""agents.benchmarks.profiling: seconds of each part of a run, each second counted once."""

import itertools

import pytest

from agents.benchmarks.profiling import Profile, profile_run, profile_table
from agents.registry import AGENTS
from agents.settings.flat import from_flat
from agents.settings.run import TrainSettings
from agents.training.task import Task
from agents.training.trainer import Trainer
from envs import Chain, Groups


class Clock:
    """Counts the seconds that are spent on it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def spend(self, seconds):
        self.now += seconds


class Worker:
    def __init__(self, clock):
        self.clock = clock

    def outer(self):
        self.clock.spend(1)
        self.inner(2)
        self.clock.spend(4)

    def inner(self, seconds):
        self.clock.spend(seconds)
        return seconds


def test_what_a_part_calls_of_another_counts_for_the_other_alone():
    clock = Clock()
    worker, profile = Worker(clock), Profile(lambda: None, clock)
    parts = {(worker, "outer"): "outer", (worker, "inner"): "inner"}
    with profile.watching(parts), profile.part("loop"):
        clock.spend(8)
        worker.outer()
        assert worker.inner(16) == 16
        clock.spend(32)
    worker.outer()  # no longer watched
    assert profile.seconds == {"loop": 40, "outer": 5, "inner": 18}


def test_methods_are_given_back_after_an_error():
    worker, profile = Worker(Clock()), Profile(lambda: None)
    with pytest.raises(RuntimeError, match="stop"), profile.watching({(worker, "inner"): "inner"}):
        raise RuntimeError("stop")
    assert "inner" not in vars(worker)


def test_each_part_waits_for_the_device():
    waits = itertools.count()
    profile = Profile(lambda: next(waits))
    with profile.part("a"), profile.part("b"):
        pass
    assert next(waits) == 4


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dqn", {"acting", "emulation", "storing", "sampling", "update", "logging", "loop"}),
        ("ppo", {"acting", "emulation", "storing", "update", "logging", "loop"}),
    ],
)
def test_a_run_has_its_parts_and_goes_on_as_without(name, expected):
    spec = AGENTS[name]
    flags = {"learning_starts": 20} if name == "dqn" else {"rollout_length": 8}
    own = {"env": "Chain", "hidden": (8,), "device": "cpu", "num_envs": 2}
    settings = from_flat(TrainSettings[spec.settings], own, **flags)
    runs = []
    for profiled in (True, False):
        environment = Task(settings.run.task).training(settings.run.num_envs)
        trainer = Trainer(spec.build(settings.run, settings.agent, environment), environment, seed=0)
        figures = profile_run(trainer, 60) if profiled else trainer.run(60)
        runs.append([parameter.tolist() for parameter in trainer.agent.learner.network.parameters()])
        if profiled:
            assert figures.keys() == expected
            assert all(seconds > 0 for seconds in figures.values())
    assert runs[0] == runs[1]


def test_parts_of_a_run_in_groups_are_those_of_acting_and_emulation():
    spec = AGENTS["dqn"]
    own = {"env": "Chain", "hidden": (8,), "device": "cpu", "num_envs": 2, "learning_starts": 20}
    settings = from_flat(TrainSettings[spec.settings], own)
    environment = Groups([Chain(1), Chain(1)])
    trainer = Trainer(spec.build(settings.run, settings.agent, environment), environment, seed=0)
    trainer.run(40)
    shares, calls = profile_run(trainer, 60), []
    assert {"acting", "emulation"} < shares.keys()
    environment.recv_from = lambda index, method=environment.recv_from: (calls.append(index), method(index))[1]
    assert trainer.run(110) is None
    assert calls[:4] == [0, 1, 0, 1]  # as before the profile


def test_the_table_shows_shares():
    table = profile_table({"none": {"acting": 3e-6, "update": 1e-6}})
    assert table.splitlines() == [
        f"{'none':20}{'µs/step':>10}{'share':>8}",
        f"{'acting':20}{'3':>10}{'0.75':>8}",
        f"{'update':20}{'1':>10}{'0.25':>8}",
    ]
