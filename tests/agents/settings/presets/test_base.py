import pytest

from agents.settings.flat import flat_defaults
from agents.settings.presets.base import REPLAY_VECTOR, check_preset, length
from agents.settings.run import TrainSettings
from agents.settings.sac import SACSettings


def test_an_unknown_preset_is_refused_with_the_known_ones():
    check_preset("fast", ("fast", "paper"))
    with pytest.raises(ValueError, match="unknown preset 'slow': choose from fast, paper"):
        check_preset("slow", ("fast", "paper"))


def test_shared_values_are_of_fields():
    assert REPLAY_VECTOR.keys() <= flat_defaults(TrainSettings[SACSettings]).keys()


@pytest.mark.parametrize(
    ("flags", "end"),
    [
        ({}, 500),
        ({"steps": "900"}, 900),
        ({"schedule_steps": "70", "steps": "900"}, 70),
        ({"schedule_steps": "None", "steps": "900"}, 900),
        ({"schedule_steps": "None"}, 500),
        ({"steps": "many"}, 500),
    ],
)
def test_schedules_end_where_the_flags_say_or_else_with_the_preset(flags, end):
    assert length({"steps": 500}, flags) == end
