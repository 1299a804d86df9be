import pytest

from agents.settings.replay import ReplaySettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tau": 1.5}, "tau must lie between 0 and 1, got 1.5"),
        ({"tau": 0.0}, "tau must be above 0, got 0.0"),
        ({"priority_exponent": 1.5, "prioritized": True}, "priority_exponent must lie between 0 and 1, got 1.5"),
        ({"priority_beta": 0.5}, "priority_beta 0.5 has no effect without prioritized"),
        ({"init_batch": 0}, "init_batch must be at least 1, got 0"),
    ],
)
def test_numbers_out_of_range_or_of_no_use_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ReplaySettings(**changes)


def test_the_first_update_needs_a_transition_of_each_environment():
    numbers = {"n_step": 3, "train_interval": 4}
    ReplaySettings(**numbers, learning_starts=21).check_start(num_envs=8)
    with pytest.raises(ValueError, match=r"learning_starts must be at least 21 for 8 environments .* 3 steps, got 20"):
        ReplaySettings(**numbers, learning_starts=20).check_start(num_envs=8)
