import pytest

from agents.settings.flat import from_flat
from agents.settings.pqn import PQNSettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rollout_length": 0}, "rollout_length must be at least 1, got 0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"minibatches": 0}, "minibatches must be at least 1, got 0"),
        ({"reward_scale": 0.0}, "reward_scale must be above 0, got 0.0"),
        ({"q_lambda": 1.5}, "q_lambda must lie between 0 and 1, got 1.5"),
    ],
)
def test_numbers_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        from_flat(PQNSettings, changes)
