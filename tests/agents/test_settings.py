from pathlib import Path

import pytest

from agents.settings import RunSettings, emulator_options


@pytest.mark.parametrize("task", [{}, {"game": "Pong", "env": "Chain"}])
def test_a_run_has_one_task(task):
    with pytest.raises(ValueError, match=r"--game Breakout .* or --env CartPole-v1, one of the two"):
        RunSettings(**task)


def test_the_task_is_the_name_as_it_was_given():
    assert RunSettings(game="Pong").task == "Pong"
    assert RunSettings(env="Chain").task == "Chain"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("num_envs", 0),
        ("eval_episodes", 0),
        ("log_interval", 0),
        ("seed", -1),
        ("eval_interval", -1),
        ("eval_steps", -5),
        ("checkpoint_interval", -1),
        ("noop_max", -1),
        ("eval_epsilon", 1.5),
        ("sticky_actions", -0.25),
        ("hidden", ()),
        ("hidden", (64, 0)),
    ],
)
def test_numbers_out_of_range_are_refused_by_name_and_value(name, value):
    with pytest.raises(ValueError, match=f"{name} .*") as refusal:
        RunSettings(env="Chain", **{name: value})
    assert str(value) in str(refusal.value)


def test_limits_are_allowed():
    RunSettings(env="Chain", eval_interval=0, checkpoint_interval=0, noop_max=0, eval_epsilon=1.0, run_dir=Path("x"))


def test_only_a_game_has_emulator_options():
    assert emulator_options(RunSettings(env="Chain", noop_max=7)) == {}
    assert emulator_options(RunSettings(game="Pong", noop_max=7, sticky_actions=0.25, max_frames=400)) == {
        "noop_max": 7,
        "fire_reset": True,
        "sticky_actions": 0.25,
        "full_action_set": False,
        "max_frames": 400,
    }
