import typing

import pytest

from agents.settings.dqn import DQNSettings
from agents.settings.flat import flat_defaults, from_flat
from agents.settings.run import TrainSettings
from agents.settings.sb3 import Algorithm, SB3Settings
from agents.settings.task import TaskSettings


def test_flags_have_the_names_of_the_other_scripts():
    own = {"algo", "hyperparams", "init"}
    assert flat_defaults(SB3Settings).keys() - own <= flat_defaults(TrainSettings[DQNSettings]).keys()
    assert {"game", "env", "life_loss", "eval_interval", "eval_episodes", "run_dir"} <= flat_defaults(
        SB3Settings
    ).keys()


def test_there_are_twelve_algorithms():
    assert len(typing.get_args(Algorithm)) == 12


@pytest.mark.parametrize("name", ["steps", "num_envs", "log_interval"])
def test_what_must_be_at_least_1(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        from_flat(SB3Settings, {name: 0})


@pytest.mark.parametrize("name", ["seed", "eval_interval", "eval_episodes"])
def test_what_must_not_be_negative(name):
    assert vars(from_flat(SB3Settings, {name: 0}))[name] == 0
    with pytest.raises(ValueError, match=f"{name} must not be negative, got -1"):
        from_flat(SB3Settings, {name: -1})


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"env": "X-v0", "stack": 4}, "stack 4 has no effect without --game: leave it out"),
        ({"env": "X-v0", "frame_skip": 2}, "frame_skip 2 has no effect without --game: leave it out"),
        ({"env": "X-v0", "grey": True}, "grey True has no effect without an agent of train_dqn.py and its like"),
        ({"env": "X-v0", "resize": (84,)}, r"resize \(84,\) has no effect without an agent of train_dqn.py"),
        ({"env": "X-v0", "vectorization": "async"}, "vectorization async has no effect without an agent of train_dqn"),
    ],
)
def test_options_that_the_library_has_otherwise_are_refused(task, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        SB3Settings(task=TaskSettings(**task))
    SB3Settings(task=TaskSettings(game="Pong", stack=2, frame_skip=2, emulator_threads=1))
    SB3Settings(task=TaskSettings(env="X-v0", env_kwargs=("a=1",)))
