"""agents.benchmarks.emulation_rates: steps a second of the emulator, the environments and an agent that acts."""

import pytest

from agents.benchmarks import emulation_rates
from agents.benchmarks.races import RaceTask
from envs import Chain, Groups
from envs.atari import usable_cores


def test_stepping_makes_whole_vector_steps_and_numbers_them():
    seen = []
    advance = emulation_rates._stepping(seen.append, 8)
    assert (advance(16), advance(1)) == (16, 8)
    assert seen == [0, 1, 2]


def test_each_group_gets_its_actions_while_the_other_steps():
    environment, order = Groups([Chain(2), Chain(1)]), []
    for name in ("recv_from", "send_to"):
        setattr(environment, name, noted(order, name, getattr(environment, name)))
    advance = emulation_rates._random_play(environment)
    assert advance(4) == 6
    assert order[:2] == [("send_to", 0), ("send_to", 1)]
    assert order[2:] == [("recv_from", 0), ("send_to", 0), ("recv_from", 1), ("send_to", 1)] * 2


def noted(order, name, method):
    """The method, which writes down its name and the group."""
    return lambda index, *action: (order.append((name, index)), method(index, *action))[1]


@pytest.mark.slow
def test_all_sides_are_timed():
    sizes = {"num_envs": 2, "steps": 8, "rounds": 1, "groups": (1, 2)}
    figures = emulation_rates.emulation_rates(RaceTask("Pong", None, "cpu"), **sizes)
    assert [*figures["summary"]] == [
        "emulator",
        "frames on one thread",
        f"frames in {usable_cores()} processes",
        "stable-baselines3",
        "Atari",
        "Atari, 2 groups",
        "DQN acting, none",
        "DQN acting, none, 2 groups",
        "DQN acting, weight",
        "DQN acting, weight, 2 groups",
    ]
    assert all(row["median"] > 0 for row in figures["summary"].values())


def test_the_agent_acts_by_its_network_and_never_learns():
    acted = []
    advance = emulation_rates._acting(RaceTask(None, "Chain", "cpu"), "weight", 2)
    trainer = advance.__closure__[0].cell_contents
    trainer.agent.acting.register_forward_hook(lambda *arguments: acted.append(1))
    advance(40)
    assert len(acted) >= 20
    assert trainer.agent.learner.num_updates == 0
