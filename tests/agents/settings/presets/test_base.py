import pytest

from agents.settings.flat import flat_defaults
from agents.settings.presets.base import REPLAY_VECTOR, SMALL, check_preset, length, of_own_images, of_torso
from agents.settings.run import TrainSettings
from agents.settings.sac import SACSettings
from wnrl.networks.torsos import NATURE_LEAST


def test_an_unknown_preset_is_refused_with_the_known_ones():
    check_preset("fast", ("fast", "paper"))
    with pytest.raises(ValueError, match="unknown preset 'slow': choose from fast, paper"):
        check_preset("slow", ("fast", "paper"))
    with pytest.raises(ValueError, match=r"unknown preset 'papr' \(nearest: paper\): choose from fast, paper"):
        check_preset("papr", ("fast", "paper"))


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


def test_small_images_are_those_that_the_nature_network_does_not_take():
    assert SMALL == NATURE_LEAST


def test_images_of_other_environments_leave_the_emulator_and_the_size_of_rewards_out():
    games = {"steps": 7, "life_loss": True, "noop_max": 3, "reward_clip": 1.0, "v_max": 10.0}
    assert of_own_images(games, {"steps": 1, "v_max": 100.0, "reward_clip": 0.0}) == {
        "steps": 7,
        "reward_clip": 0.0,
        "v_max": 100.0,
    }


def test_the_width_of_minatar():
    assert of_torso("small image", "auto") == of_torso("game", "minatar") == {"hidden": (128,)}
    assert of_torso("image", "auto") == of_torso("small image", "impala") == of_torso("vector", "auto") == {}
