"""agents.sweeps.speeds"""

import pytest

from agents.sweeps.speeds import measured_speed, seconds_of
from tests.agents.sweeps.made_up import a_trial


@pytest.mark.parametrize("agent", ["dqn", "sb3-a2c"])
def test_a_short_run_is_measured(agent):
    assert 10 < measured_speed(a_trial(agent, steps=50_000), 1, 0.5) < 1e6


def test_a_run_that_fails():
    with pytest.raises(ValueError, match=r"dqn-None-v0-weight does not run: exit code 2: .*None-v0"):
        measured_speed(a_trial(task="None-v0"), 1, 1.0)


def test_seconds():
    trials = [a_trial(norm=norm, steps=100) for norm in ("none", "none", "weight")]
    speeds = {trials[0].group: 10.0, trials[2].group: 5.0}
    assert [seconds_of(trials, speeds, at_once) for at_once in (1, 2, 3, 16)] == [40, 30, 20, 20]
