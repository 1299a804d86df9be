"""agents.benchmarks.update_times: whose updates are timed, on which batches."""

import pytest
import torch

from agents.benchmarks import update_times as module
from agents.benchmarks.commands import UpdateTimes
from agents.benchmarks.races import RaceTask
from agents.benchmarks.update_times import make_side, update_table, update_times

TASK, CPU = RaceTask(None, "CartPole-v1", "cpu", "float32"), torch.device("cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(module, "FILLED", 64)
    monkeypatch.setattr(module, "WARMUP", 1)


@pytest.fixture
def trainers(monkeypatch):
    made, our_trainer = [], module.our_trainer

    def spy(race, task, norm, **changes):
        made.append((our_trainer(race, task, norm, **changes), changes))
        return made[-1][0]

    monkeypatch.setattr(module, "our_trainer", spy)
    return made


@pytest.mark.parametrize(("agent", "updates"), [("dqn", 8), ("ppo", 1), ("a2c", 1), ("pqn", 1)])
def test_a_call_makes_its_updates_on_batches_of_the_size(agent, updates, trainers):
    side = make_side(TASK, agent, "weight", 24, "eager")
    ((trainer, changes),) = trainers
    assert (side.updates, changes) == (updates, {"compile": False})
    learner, sizes = trainer.agent.learner, []
    assert learner.num_updates == 0
    learner.network.register_forward_hook(lambda network, inputs, output: sizes.append(len(inputs[0])))
    side.work()
    assert learner.num_updates == updates
    assert {*sizes} == {24}


def test_double_dqn_is_a_dqn_that_chooses_by_its_own_network(trainers):
    for agent in ("dqn", "double-dqn"):
        make_side(TASK, agent, "none", 8, "eager")
    assert [trainer.agent.objective.bootstrap.uses_next_q for trainer, _ in trainers] == [False, True]


def test_torch_is_set_as_in_a_run(monkeypatch):
    """A small network has one thread on the CPU."""
    threads, timed = [], module.timed

    def noted(*arguments):
        threads.append(torch.get_num_threads())
        return timed(*arguments)

    monkeypatch.setattr(module, "timed", noted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        update_times(TASK, ["dqn"], ["none"], [8], ["eager"], rounds=1, updates=8, device=CPU)
        assert (threads, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def test_all_sides_of_an_agent_and_a_batch_size_are_compared():
    sides = ["dqn"], ["none", "weight"], [8, 16], ["eager"]
    figures = update_times(TASK, *sides, rounds=1, updates=8, device=CPU)
    assert [*figures] == ["dqn, 8", "dqn, 16"]
    rows = figures["dqn, 16"]
    assert [*rows] == ["none, eager", "weight, eager"]
    assert rows["none, eager"]["ratio"] == 1
    assert 0 < rows["weight, eager"]["median"] < 1
    assert "kernels" not in rows["weight, eager"]


def test_seconds_are_of_one_update(monkeypatch):
    rows = {"none, eager": {"median": 4.0, "ratio": 1.0}}
    monkeypatch.setattr(module, "timed", lambda work, rounds, times, device, warmup: rows if times == 3 else None)
    figures = update_times(TASK, ["dqn"], ["none"], [8], ["eager"], rounds=1, updates=24, device=CPU)
    assert figures["dqn, 8"]["none, eager"]["median"] == 0.5


def test_a_table_has_microseconds_and_kernels_where_they_were_counted():
    row = {"median": 2.5e-4, "ratio": 1.0}
    assert update_table({"dqn, 32": {"none, eager": row}}).splitlines()[1].split() == ["none,", "eager", "250", "1.000"]
    counted = update_table({"dqn, 32": {"none, eager": {**row, "kernels": 84.5}}}).splitlines()
    assert counted[0].split()[-1] == "kernels"
    assert counted[1].split()[-1] == "84.5"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_sizes": (12,)}, "batch_sizes must be multiples of 8, got 12"),
        ({"norms": ()}, "norms must name one at least"),
        ({"updates": 0}, "updates must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_timed_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        UpdateTimes(**options)
