"""agents.training.environments: those to learn in, and those to play whole games in."""

from agents.settings.flat import from_flat, replace
from agents.settings.run import RunSettings, TaskSettings
from agents.training.environments import id_remark, make_evaluation_environment, make_training_environment
from envs import Atari, Chain, Gym

RUN = from_flat(RunSettings, env="Chain", hidden=(8,), device="cpu", num_envs=3)


def test_environments_of_each_kind():
    assert type(make_training_environment(RUN)) is Chain
    assert make_training_environment(RUN).num_envs == 3
    assert type(make_evaluation_environment(replace(RUN, env="CartPole-v1"), 2)) is Gym
    assert make_evaluation_environment(RUN, 2).num_envs == 2


def test_an_id_has_a_remark_and_a_name_has_none():
    assert id_remark(TaskSettings(game="PongNoFrameskip-v4")) == (
        "PongNoFrameskip-v4 means the game Pong: the id's own sticky actions (0) and frame skip (1) are not taken over"
    )
    assert [id_remark(task) for task in (TaskSettings(game="Pong"), TaskSettings(env="CartPole-v1"))] == ["", ""]


def test_a_lost_life_counts_in_training_and_never_in_evaluation():
    run = from_flat(RunSettings, game="Breakout", num_envs=1)
    training, evaluation = make_training_environment(run), make_evaluation_environment(run, 1)
    assert isinstance(training, Atari)
    assert (training.life_loss, evaluation.life_loss) == (True, False)
    assert make_training_environment(replace(run, life_loss=False)).life_loss is False


def test_both_environments_have_the_settings_emulator(monkeypatch):
    monkeypatch.setattr("agents.training.environments.make", lambda **options: options)
    emulator = {
        "noop_max": 7, "fire_reset": False, "sticky_actions": 0.25, "full_action_set": True, "max_frames": 400
    }  # fmt: skip
    run = from_flat(RunSettings, game="Breakout", num_envs=5, life_loss=False, **emulator)
    made = {"game": "Breakout", "env": None, **emulator}
    assert make_training_environment(run) == {**made, "num_envs": 5, "life_loss": False}
    assert make_evaluation_environment(run, 2, render_mode="rgb_array") == {
        **made,
        "num_envs": 2,
        "render_mode": "rgb_array",
    }
