import pytest

from agents.settings.learner import LearnerSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("gamma", 1.5),
        ("beta1", -0.5),
        ("optimizer_eps", -1.0),
        ("optimizer_eps", 0.0),
        ("max_grad_norm", -1.0),
        ("reward_clip", -1.0),
    ],
)
def test_numbers_out_of_range_are_refused_by_name_and_value(name, value):
    with pytest.raises(ValueError, match=f"{name} must .*{value}"):
        LearnerSettings(**{name: value})
