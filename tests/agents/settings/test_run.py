from dataclasses import dataclass
from pathlib import Path

import pytest

from agents.settings.run import (
    ExplorationSettings,
    LearnerSettings,
    RunSettings,
    Settings,
    check_above_zero,
    check_at_least,
    check_shares,
    check_used,
    emulator_options,
)


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
    RunSettings(env="Chain", eval_interval=0, checkpoint_interval=0, noop_max=0, run_dir=Path("x"))


def test_only_a_game_has_emulator_options():
    assert emulator_options(RunSettings(env="Chain", noop_max=7)) == {}
    assert emulator_options(RunSettings(game="Pong", noop_max=7, sticky_actions=0.25, max_frames=400)) == {
        "noop_max": 7,
        "fire_reset": True,
        "sticky_actions": 0.25,
        "full_action_set": False,
        "max_frames": 400,
    }


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (LearnerSettings, "learning_rate", 0.0),
        (LearnerSettings, "gamma", 1.5),
        (LearnerSettings, "beta1", -0.5),
        (LearnerSettings, "optimizer_eps", -1.0),
        (LearnerSettings, "max_grad_norm", -1.0),
        (LearnerSettings, "reward_clip", -1.0),
        (ExplorationSettings, "epsilon_start", 1.5),
        (ExplorationSettings, "epsilon_end", -0.5),
        (ExplorationSettings, "eval_epsilon", 1.5),
        (ExplorationSettings, "epsilon_steps", -1),
    ],
)
def test_an_agents_numbers_out_of_range_are_refused_by_name_and_value(kind, name, value):
    with pytest.raises(ValueError, match=f"{name} must .*{value}"):
        kind(**{name: value})


# Checks


@dataclass(frozen=True)
class Left(Settings):
    left: float = 1.0

    def check(self):
        check_above_zero(self, "left")


@dataclass(frozen=True)
class Right(Settings):
    right: int = 1

    def check(self):
        check_at_least(self, 1, "right")


@dataclass(frozen=True)
class Both(Left, Right):
    """Says nothing of its own."""


@dataclass(frozen=True)
class Override(Left):
    left: float = 2.0
    share: float = 0.5

    def check(self):
        check_shares(self, "share")


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        (Both, {"left": 0.0}, "left must be above 0, got 0.0"),
        (Both, {"right": 0}, "right must be at least 1, got 0"),
        (Override, {"left": -1.0}, "left must be above 0, got -1.0"),
        (Override, {"share": 2.0}, "share must lie between 0 and 1, got 2.0"),
    ],
)
def test_each_class_of_a_combination_checks_its_own_fields(kind, changes, said):
    with pytest.raises(ValueError, match=said):
        kind(**changes)
    kind()


def test_a_limit_of_0_is_said_in_words():
    with pytest.raises(ValueError, match="right must not be negative, got -1"):
        check_at_least(_Negative(), 0, "right")


class _Negative:
    right = -1


def test_a_value_that_nothing_uses_is_refused_and_the_default_is_not():
    check_used(Override(), False, "something", "left", "share")
    check_used(Override(left=3.0), True, "something", "left")
    with pytest.raises(ValueError, match=r"left 3\.0 has no meaning without something: leave it out"):
        check_used(Override(left=3.0), False, "something", "left")
