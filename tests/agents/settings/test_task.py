"""agents.settings.task: the task, and which of its options go together."""

import json

import pytest

from agents.settings.flat import to_flat
from agents.settings.task import OF_ENVIRONMENTS, OF_GAMES, TaskSettings


def test_a_task_is_a_game_or_another_environment():
    with pytest.raises(ValueError, match=r"--game Breakout .* or --env CartPole-v1, one of the two"):
        TaskSettings(game="Pong", env="Chain")
    with pytest.raises(ValueError, match=r"--game Breakout .* or --env CartPole-v1, one of the two"):
        _ = TaskSettings().name


def test_the_task_is_the_name_as_it_was_given():
    assert TaskSettings(game="Pong").name == "Pong"
    assert TaskSettings(env="Chain").name == "Chain"


def test_a_protocol_is_of_games():
    assert TaskSettings(game="Pong", protocol="machado").protocol == "machado"
    with pytest.raises(ValueError, match="protocol nature is one of Atari games: use it with --game"):
        TaskSettings(env="Chain", protocol="nature")


def test_a_game_has_all_its_options_and_four_frames():
    made = TaskSettings(game="Pong", noop_max=7, sticky_actions=0.25, max_frames=400, emulator_threads=3)
    assert made.emulator_options == {
        "noop_max": 7,
        "fire_reset": True,
        "sticky_actions": 0.25,
        "full_action_set": False,
        "max_frames": 400,
        "frame_skip": 4,
        "stack": 4,
    }
    assert made.machine_options == {"num_threads": 3}
    changed = TaskSettings(game="Pong", frame_skip=2, stack=1).emulator_options
    assert (changed["frame_skip"], changed["stack"]) == (2, 1)
    assert TaskSettings(game="Pong").machine_options == {}


def test_another_environment_has_those_that_are_set():
    assert TaskSettings(env="Chain").emulator_options == TaskSettings(env="Chain").machine_options == {}
    made = TaskSettings(
        env="CarRacing-v3",
        env_kwargs=("continuous=False", "lap=0.5", "name=8x8", "sizes=(1, 2)", "quoted='a b'", "none=None"),
        resize=(84,),
        grey=True,
        frame_skip=2,
        stack=3,
        vectorization="async",
    )
    options = {"continuous": False, "lap": 0.5, "name": "8x8", "sizes": [1, 2], "quoted": "a b", "none": None}
    images = {"resize": (84, 84), "grey": True, "frame_skip": 2, "stack": 3}
    assert made.emulator_options == {"env_kwargs": options, **images}
    assert made.machine_options == {"vectorization": "async"}
    assert TaskSettings(env="X-v0", resize=(60, 80)).emulator_options == {"resize": (60, 80)}


def test_python_gives_arguments_by_name():
    made = TaskSettings(env="X-v0", env_kwargs={"continuous": False, "name": "a b"})
    assert made.env_kwargs == ("continuous=False", "name='a b'")
    assert made.env_options == {"continuous": False, "name": "a b"}


def test_settings_go_through_json():
    made = TaskSettings(env="X-v0", env_kwargs=("a=1",), resize=(60, 80))
    assert TaskSettings(**json.loads(json.dumps(to_flat(made)))) == made


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"env": "X-v0", "noop_max": 7}, "noop_max 7 has no effect without --game: leave it out"),
        ({"env": "X-v0", "life_loss": False}, "life_loss False has no effect without --game: leave it out"),
        ({"env": "X-v0", "emulator_threads": 2}, "emulator_threads 2 has no effect without --game: leave it out"),
        ({"game": "Pong", "grey": True}, "grey True has no effect without --env: leave it out"),
        ({"game": "Pong", "resize": (84,)}, r"resize \(84,\) has no effect without --env: leave it out"),
        ({"game": "Pong", "env_kwargs": ("a=1",)}, r"env_kwargs \('a=1',\) has no effect without --env: leave it out"),
        ({"game": "Pong", "vectorization": "async"}, "vectorization async has no effect without --env: leave it out"),
        ({"env": "X-v0", "env_kwargs": ("continuous",)}, "env_kwargs takes KEY=VALUE, .* got 'continuous'"),
        ({"env": "X-v0", "env_kwargs": ("a={'b': [{1: 2}]}",)}, r"env_kwargs a must have text as the keys of mappings"),
        ({"env": "X-v0", "env_kwargs": ("render_mode=human",)}, "env_kwargs cannot have render_mode: it is set where"),
        ({"env": "X-v0", "resize": (0,)}, "resize takes a height and a width from 1 to 10000, or one number, got"),
        ({"env": "X-v0", "resize": (10_001,)}, "resize takes a height and a width from 1 to 10000, or one number, got"),
        ({"env": "X-v0", "stack": 1_001}, "stack must be at most 1000, got 1001"),
        ({"game": "Pong", "frame_skip": 10**9}, "frame_skip must be at most 1000, got 1000000000"),
        ({"env": "X-v0", "resize": (1, 2, 3)}, "resize takes a height and a width from 1 to 10000, or one number, got"),
        ({"env": "X-v0", "stack": 0}, "stack must be at least 1, got 0"),
        ({"game": "Pong", "frame_skip": 0}, "frame_skip must be at least 1, got 0"),
        ({"game": "Pong", "emulator_threads": -1}, "emulator_threads must not be negative, got -1"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(values, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        TaskSettings(**values)


def test_each_option_is_of_games_or_of_environments_or_of_both():
    both = {"game", "env", "protocol", "frame_skip", "stack"}
    assert set(OF_GAMES) | set(OF_ENVIRONMENTS) | both == to_flat(TaskSettings()).keys()
