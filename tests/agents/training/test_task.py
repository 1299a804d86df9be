"""agents.training.task: environments to learn in, and those to play whole games in."""

import pytest
from gymnasium.vector import AsyncVectorEnv

from agents.settings.flat import replace
from agents.settings.task import TaskSettings
from agents.training.task import Task
from envs import Atari, Chain, Gym
from tests.envs.own import Camera, Paddle, Parts

CHAIN = Task(TaskSettings(env="Chain"))


def test_environments_of_each_kind():
    assert type(CHAIN.training(3)) is Chain
    assert CHAIN.training(3).num_envs == 3
    assert type(Task(TaskSettings(env="CartPole-v1")).evaluation(2)) is Gym
    assert CHAIN.evaluation(2).num_envs == 2


def test_options_reach_the_environment_and_the_model():
    settings = TaskSettings(env="FrozenLake-v1", env_kwargs=("map_name=8x8",), stack=2, vectorization="async")
    task = Task(settings)
    assert task.probe().obs_shape == (128,)
    assert task.describe()["emulator"] == {"env_kwargs": {"map_name": "8x8"}, "stack": 2}
    environment = task.training(1)
    assert environment.obs_shape == (128,)
    assert isinstance(environment._env, AsyncVectorEnv)
    environment.close()


def test_an_id_has_a_remark_and_a_name_has_none():
    assert Task(TaskSettings(game="PongNoFrameskip-v4")).remark == (
        "PongNoFrameskip-v4 means the game Pong: the id's own sticky actions (0) and frame skip (1) are not taken over"
    )
    assert [Task(task).remark for task in (TaskSettings(game="Pong"), TaskSettings(env="CartPole-v1"))] == ["", ""]


@pytest.mark.parametrize(
    ("task", "num_envs", "asked", "groups"),
    [
        ({"game": "Pong"}, 64, None, 4),
        ({"game": "Pong"}, 31, None, 1),
        ({"game": "Pong"}, 64, 2, 2),
        ({"game": "Pong"}, 8, 8, 8),
        ({"env": "CartPole-v1"}, 64, None, 1),
        ({"env": "CartPole-v1", "vectorization": "async"}, 64, None, 1),
        ({"env": "CartPole-v1", "vectorization": "async"}, 8, 2, 2),
    ],
)
def test_environments_to_learn_in_step_in_groups_and_those_of_evaluations_do_not(
    task, num_envs, asked, groups, monkeypatch
):
    monkeypatch.setattr("agents.training.task.make", lambda **options: options.get("groups"))
    monkeypatch.setattr("agents.training.task.usable_cores", lambda: 16)
    task = Task(TaskSettings(**task))
    assert task.training(num_envs, asked) == groups
    assert task.evaluation(num_envs) is None


def test_a_lost_life_counts_in_training_and_never_in_evaluation():
    settings = TaskSettings(game="Breakout")
    training, evaluation = Task(settings).training(1), Task(settings).evaluation(1)
    assert isinstance(training, Atari)
    assert (training.life_loss, evaluation.life_loss) == (True, False)
    assert Task(replace(settings, life_loss=False)).training(1).life_loss is False


def test_both_environments_have_the_settings_emulator(monkeypatch):
    monkeypatch.setattr("agents.training.task.make", lambda **options: options)
    emulator = {
        "noop_max": 7, "fire_reset": False, "sticky_actions": 0.25, "full_action_set": True, "max_frames": 400,
        "frame_skip": 3, "stack": 2,
    }  # fmt: skip
    task = Task(TaskSettings(game="Breakout", life_loss=False, emulator_threads=3, **emulator))
    made = {"game": "Breakout", "env": None, "num_threads": 3, **emulator}
    assert task.describe()["emulator"] == emulator  # threads are the machine's
    assert task.training(5) == {**made, "num_envs": 5, "groups": 1, "life_loss": False}
    assert task.evaluation(2, render_mode="rgb_array") == {**made, "num_envs": 2, "render_mode": "rgb_array"}


def test_a_description_names_the_task_and_its_options():
    described = Task(TaskSettings(game="Pong", protocol="machado", life_loss=False)).describe()
    assert (described["game"], described["protocol"], described["life_loss"]) == ("Pong", "machado", False)
    assert described["emulator"]["sticky_actions"] == 0
    assert CHAIN.describe() == {"game": None, "env": "Chain", "emulator": {}}


@pytest.mark.parametrize(
    ("values", "source", "observation"),
    [
        ({"game": "Breakout"}, None, "game"),
        ({"env": "Chain"}, None, "vector"),
        ({"env": "CartPole-v1"}, None, "vector"),
        ({"env": "python:Parts"}, Parts, "vector"),
        ({"env": "python:Camera"}, Camera, "image"),
        ({"env": "python:Paddle"}, Paddle, "small image"),
    ],
)
def test_a_probe_says_what_the_task_shows(values, source, observation):
    task = Task.of({**values, "seed": 3}, source)
    assert task.observation == observation
    if task.settings.game is None:
        assert task.probe().obs_shape == task.training(2).obs_shape


def test_a_probe_is_made_once():
    made = []

    def make():
        made.append(Camera())
        return made[-1]

    task = Task(TaskSettings(env="python:make"), make)
    assert task.probe() is task.probe()
    assert task.observation == "image"
    assert len(made) == 1


def test_a_game_is_not_started(monkeypatch):
    monkeypatch.setattr("envs.Atari", None)
    assert Task(TaskSettings(game="Pong")).probe().obs_shape == (4, 84, 84)


def test_an_environment_that_python_made_is_needed_again():
    for ask in (Task(TaskSettings(env="python:Maze")).probe, lambda: Task(TaskSettings(env="python:Maze")).training(1)):
        with pytest.raises(ValueError, match=r"^Maze is an environment made in Python: give it, as in agents.load"):
            ask()
