import pytest

from agents.settings.exploration import ExplorationSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [("epsilon_start", 1.5), ("epsilon_end", -0.5), ("eval_epsilon", 1.5), ("epsilon_steps", -1)],
)
def test_numbers_out_of_range_are_refused_by_name_and_value(name, value):
    with pytest.raises(ValueError, match=f"{name} must .*{value}"):
        ExplorationSettings(**{name: value})
