"""agents.settings.keywords: settings that are given in Python."""

from pathlib import Path

import numpy as np
import pytest

from agents.registry import AGENTS
from agents.settings.flat import flat_defaults
from agents.settings.keywords import as_flags, checked_keywords
from agents.settings.run import TrainSettings

KIND = TrainSettings[AGENTS["dqn"].settings]


def checked(**values):
    return checked_keywords(KIND, values)


def test_values_are_those_of_the_settings():
    assert checked(seed=np.int64(3), steps=1e6, learning_rate=1, hidden=[64, np.int32(32)], run_dir="a/b") == {
        "seed": 3,
        "steps": 1_000_000,
        "learning_rate": 1.0,
        "hidden": (64, 32),
        "run_dir": Path("a/b"),
    }
    assert type(checked(steps=1e6)["steps"]) is int
    assert checked(norm="weight", double=True, normalize_output=None, torso="nature", game="Pong") == {
        "norm": "weight",
        "double": True,
        "normalize_output": None,
        "torso": "nature",
        "game": "Pong",
    }


@pytest.mark.parametrize("agent", AGENTS)
def test_every_default_is_a_value_of_its_own_setting(agent):
    kind = TrainSettings[AGENTS[agent].settings]
    defaults = flat_defaults(kind)
    assert checked_keywords(kind, defaults) == defaults


def test_a_wrong_name_comes_with_the_nearest_right_one():
    with pytest.raises(TypeError, match=r"^there is no setting 'lr': did you mean 'learning_rate'\?$"):
        checked(lr=1)


def test_a_name_like_no_other_is_refused_all_the_same():
    with pytest.raises(TypeError, match=r"^there is no setting 'qqqqqq'$"):
        checked(qqqqqq=1)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"seed": "1"}, "seed must be int, got '1'"),
        ({"seed": True}, "seed must be int, got True"),
        ({"seed": 1.5}, "seed must be int, got 1.5"),
        ({"double": 1}, "double must be bool, got 1"),
        ({"learning_rate": "fast"}, "learning_rate must be float, got 'fast'"),
        ({"learning_rate": True}, "learning_rate must be float, got True"),
        ({"hidden": 64}, "hidden must be .*, got 64"),
        ({"norm": None}, "norm must be str, got None"),
        ({"game": 3}, "game must be str or NoneType, got 3"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(values, line):
    with pytest.raises(TypeError, match=line):
        checked(**values)


def test_a_value_that_is_none_of_the_choices_is_refused_with_them():
    with pytest.raises(ValueError, match=r"torso must be one of 'auto', 'nature', .*, got 'natur'"):
        checked(torso="natur")


def test_flags_are_those_of_a_command_line():
    assert as_flags({"noisy": True, "double": False, "seed": 3, "norm": "layer", "hidden": (64, 32)}) == {
        "noisy": "",
        "no_double": "",
        "seed": "3",
        "norm": "layer",
        "hidden": "(64, 32)",
    }
