import pytest

from agents.settings.flat import from_flat
from agents.settings.sac import SACSettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"tau": 1.5}, "tau must lie between 0 and 1, got 1.5"),
        ({"target_entropy": 1.2}, "target_entropy must lie between 0 and 1, got 1.2"),
        ({"temperature": -0.1}, "temperature must not be negative, got -0.1"),
        ({"temperature_start": 0.0}, "temperature_start must be above 0, got 0.0"),
        ({"temperature": 0.2, "target_entropy": 0.5}, "target_entropy 0.5 has no effect without temperature auto"),
        ({"priority_beta": 0.5}, "priority_beta 0.5 has no effect without prioritized"),
    ],
)
def test_settings_out_of_range_or_of_no_use_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        from_flat(SACSettings, changes)
