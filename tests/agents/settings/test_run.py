from pathlib import Path

import pytest

from agents.settings.dqn import DQNSettings
from agents.settings.flat import from_flat
from agents.settings.run import RunSettings, TaskSettings, TrainSettings


def test_a_task_is_a_game_or_another_environment():
    with pytest.raises(ValueError, match=r"--game Breakout .* or --env CartPole-v1, one of the two"):
        TaskSettings(game="Pong", env="Chain")
    with pytest.raises(ValueError, match=r"--game Breakout .* or --env CartPole-v1, one of the two"):
        _ = TaskSettings().name


def test_the_task_is_the_name_as_it_was_given():
    assert TaskSettings(game="Pong").name == "Pong"
    assert TaskSettings(env="Chain").name == "Chain"


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
        ("sticky_actions", -0.25),
        ("hidden", ()),
        ("hidden", (64, 0)),
    ],
)
def test_numbers_out_of_range_are_refused_by_name_and_value(name, value):
    with pytest.raises(ValueError, match=f"{name} .*") as refusal:
        from_flat(RunSettings, {name: value}, env="Chain")
    assert str(value) in str(refusal.value)


def test_limits_are_allowed():
    from_flat(RunSettings, env="Chain", eval_interval=0, checkpoint_interval=0, noop_max=0, run_dir=Path("x"))


def test_a_protocol_is_of_games():
    assert TaskSettings(game="Pong", protocol="machado").protocol == "machado"
    with pytest.raises(ValueError, match="protocol nature is one of Atari games: use it with --game"):
        TaskSettings(env="Chain", protocol="nature")


def test_only_a_game_has_emulator_options():
    assert TaskSettings(env="Chain", noop_max=7).emulator_options == {}
    assert TaskSettings(game="Pong", noop_max=7, sticky_actions=0.25, max_frames=400).emulator_options == {
        "noop_max": 7,
        "fire_reset": True,
        "sticky_actions": 0.25,
        "full_action_set": False,
        "max_frames": 400,
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["learning_rate", "huber_delta", "reward_clip", "tau", "sticky_actions"])
def test_numbers_that_are_not_finite_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must .*, got {value}"):
        from_flat(TrainSettings[DQNSettings], {name: value}, env="Chain")


def test_schedules_end_with_the_run_unless_told():
    assert from_flat(RunSettings, env="Chain", steps=7).schedule_end == 7
    assert from_flat(RunSettings, env="Chain", steps=7, schedule_steps=3).schedule_end == 3
    with pytest.raises(ValueError, match="schedule_steps must be at least 1, got 0"):
        from_flat(RunSettings, env="Chain", schedule_steps=0)
