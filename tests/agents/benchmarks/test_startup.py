"""agents.benchmarks.startup: what a new process needs until its first update."""

import time
from dataclasses import asdict

import pytest

from agents.benchmarks.races import RaceTask
from agents.benchmarks.startup import our_moments, sb3_moments, start_table, start_times

TASK = asdict(RaceTask(None, "CartPole-v1", "cpu"))


@pytest.mark.parametrize("moments", [lambda: our_moments(TASK, 64, "weight"), lambda: sb3_moments(TASK, 64)])
def test_phases_follow_each_other(moments):
    before = time.time()
    imported, built, updated = moments()
    assert before <= imported <= built < updated <= time.time()


@pytest.mark.slow
def test_each_side_is_timed_in_a_process_of_its_own():
    figures = start_times(TASK, rounds=1, learning_starts=64)
    rows = figures["summary"]
    assert [*rows] == ["import", "build", "first update", "wnrl train dqn --help"]
    for name in ("stable-baselines3", "wnrl none", "wnrl weight"):
        assert 0 < rows["import"][name]["median"] < rows["build"][name]["median"] < rows["first update"][name]["median"]
    assert "first update (s)" in start_table(figures)


def test_a_process_that_fails_says_why():
    with pytest.raises(ValueError, match=r"the process failed: .*NoSuchThing"):
        start_times({**TASK, "env": "NoSuchThing-v0"}, rounds=1, learning_starts=64)
