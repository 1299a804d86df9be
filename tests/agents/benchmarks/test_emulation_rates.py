"""agents.benchmarks.emulation_rates: steps a second of the emulator, the environments and an agent that acts."""

import pytest

from agents.benchmarks import emulation_rates
from agents.benchmarks.races import RaceTask


def test_stepping_makes_whole_vector_steps_and_numbers_them():
    seen = []
    advance = emulation_rates._stepping(seen.append, 8)
    assert (advance(16), advance(1)) == (16, 8)
    assert seen == [0, 1, 2]


@pytest.mark.slow
def test_all_sides_are_timed():
    figures = emulation_rates.emulation_rates(RaceTask("Pong", None, "cpu"), num_envs=2, steps=8, rounds=1)
    assert [*figures["summary"]] == [
        "emulator",
        "frames on one thread",
        "stable-baselines3",
        "Atari",
        "DQN acting, none",
        "DQN acting, weight",
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
