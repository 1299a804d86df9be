from pathlib import Path

import pytest

from agents.settings.dqn import DQNSettings
from agents.settings.flat import from_flat
from agents.settings.run import AUTO, RunSettings, TrainSettings


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
        from_flat(RunSettings, {name: value}, game="Pong")
    assert str(value) in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ({"game": "Pong", "env_groups": 0}, "env_groups must be at least 1, got 0"),
        (
            {"game": "Pong", "env_groups": 5, "num_envs": 4},
            "env_groups must be at most num_envs, 4 in a process, got 5",
        ),
        (
            {"env": "CartPole-v1", "env_groups": 2},
            "env_groups 2 has no effect on environments that step one after the other: add --vectorization async, or "
            "--env-groups None",
        ),
    ],
)
def test_groups_that_cannot_be_are_one_line(settings, refusal):
    with pytest.raises(ValueError, match="env_groups") as error:
        from_flat(RunSettings, settings)
    assert str(error.value) == refusal


def test_groups_where_environments_step_in_the_background():
    assert RunSettings().env_groups is None
    for task in ({"game": "Pong"}, {"env": "CartPole-v1", "vectorization": "async"}):
        assert from_flat(RunSettings, task, env_groups=4, num_envs=4).env_groups == 4
    assert from_flat(RunSettings, env="CartPole-v1", env_groups=1).env_groups == 1


def test_limits_are_allowed():
    from_flat(RunSettings, game="Pong", eval_interval=0, checkpoint_interval=0, noop_max=0, run_dir=Path("x"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["learning_rate", "huber_delta", "reward_clip", "tau", "sticky_actions"])
def test_numbers_that_are_not_finite_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must .*, got {value}"):
        from_flat(TrainSettings[DQNSettings], {name: value}, game="Pong")


def test_schedules_end_with_the_run_unless_told():
    assert from_flat(RunSettings, env="Chain", steps=7).schedule_end == 7
    assert from_flat(RunSettings, env="Chain", steps=7, schedule_steps=3).schedule_end == 3
    with pytest.raises(ValueError, match="schedule_steps must be at least 1, got 0"):
        from_flat(RunSettings, env="Chain", schedule_steps=0)


def test_a_run_resumes_from_a_folder_but_not_where_auto_found_no_checkpoint():
    for resume, resumes in ((None, False), (AUTO, False), (Path("run"), True), (Path("auto/run"), True)):
        assert RunSettings(resume=resume).resumes is resumes
