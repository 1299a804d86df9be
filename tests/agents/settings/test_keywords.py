"""agents.settings.keywords: settings that are given in Python."""

from pathlib import Path

import numpy as np
import pytest

from agents.registry import AGENTS
from agents.settings.flat import flat_defaults
from agents.settings.keywords import as_flags, checked_keywords, converted, named_arguments
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


def test_a_tuple_is_named_with_what_is_in_it():
    with pytest.raises(TypeError, match=r"^hidden must be tuple of int, got '64,64'$"):
        checked(hidden="64,64")


def test_a_number_alone():
    assert converted("episodes", 3.0, int) == 3
    assert type(converted("episodes", np.int64(3), int)) is int
    for wrong in (3.5, "3", True, None):
        with pytest.raises(TypeError, match="episodes must be int, got"):
            converted("episodes", wrong, int)


class Learner:
    @named_arguments
    def learn(self, steps: int, *, callbacks: tuple[int, ...] = ()) -> int:
        """Learn."""
        return steps


@pytest.mark.parametrize(
    ("keywords", "line"),
    [
        ({"total_timesteps": 1}, r"learn() has no argument 'total_timesteps': did you mean learn(steps=...)?"),
        ({"steps": 1, "callback": 1}, r"learn() has no argument 'callback': did you mean learn(callbacks=...)?"),
        ({"steps": 1, "xyzzy": 1}, r"learn() has no argument 'xyzzy': it takes steps, callbacks"),
    ],
)
def test_a_wrong_argument_is_named_with_the_one_that_is_meant(keywords, line):
    with pytest.raises(TypeError) as refusal:
        Learner().learn(**keywords)
    assert str(refusal.value) == line


def test_right_arguments_pass():
    assert Learner().learn(3, callbacks=(1,)) == Learner().learn(steps=3) == 3
    assert (Learner.learn.__name__, Learner.learn.__doc__) == ("learn", "Learn.")
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'steps'"):
        Learner().learn()
