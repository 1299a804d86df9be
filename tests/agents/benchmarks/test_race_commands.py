"""agents.benchmarks.race_commands: races of our agents and the host's."""

import pytest
import torch

from agents.benchmarks.race_commands import RaceA2C, RacePPO

CPU = torch.device("cpu")


def test_a_race_of_no_steps_is_refused():
    with pytest.raises(ValueError, match=r"^steps must be at least 1, got 0$"):
        RacePPO(steps=0)


def test_a_race_has_a_side_of_the_host_and_two_of_ours():
    figures, table = RaceA2C(env="CartPole-v1", steps=16, rounds=2, device="cpu").measure(CPU)
    assert [*figures["summary"]] == ["stable-baselines3", "wnrl none", "wnrl weight"]
    assert all(len(rates) == 2 for rates in figures["steps_per_second"].values())
    assert table.splitlines()[0].split() == ["steps/s", "ratio"]
    assert "profile" not in figures


def test_rollouts_that_overlap_are_another_side():
    race = RaceA2C(env="CartPole-v1", steps=16, rounds=1, device="cpu", overlap_rollouts=True)
    assert [*race.measure(CPU)[0]["summary"]][2:] == ["wnrl weight", "wnrl weight, overlap"]


def test_a_profile_is_of_both_of_ours():
    figures, table = RaceA2C(env="CartPole-v1", steps=16, rounds=1, device="cpu", profile=True).measure(CPU)
    assert figures["profile"].keys() == {"wnrl none", "wnrl weight"}
    assert "emulation" in table
