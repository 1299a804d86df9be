import json
import os

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.logger import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.commands.sb3 import sb3_run
from agents.commands.sb3.sb3_run import SB3Run, TrackerOutput
from agents.runtime.seeds import Purpose, integer
from agents.settings.flat import from_flat
from agents.settings.sb3 import SB3Settings
from tests.scripts.processes import read_json, read_progress
from wnrl.checkpoints.tensor_files import read_model

SMALL = {"env": "CartPole-v1", "device": "cpu", "eval_interval": 100, "eval_episodes": 3, "log_interval": 60}
DQN_NUMBERS = ("learning_starts:20", "buffer_size:500", "policy_kwargs:{'net_arch': [8]}")


def started(path, stop=lambda: False, **changes):
    values = {**SMALL, "algo": "dqn", "steps": 252, "hyperparams": DQN_NUMBERS, "run_dir": path, **changes}
    return SB3Run(from_flat(SB3Settings, values), stop)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run from beginning to end: its folder, and its result."""
    path = tmp_path_factory.mktemp("whole") / "run"
    with started(path) as run:
        run.learn()
        run.save()
        return path, run.evaluate()


def test_the_folder_is_complete(whole):
    path, _ = whole
    names = {file.name for file in path.iterdir() if not file.name.startswith("events.out.tfevents")}
    assert names == {
        "config.json", "progress.csv", "model.zip", "model.safetensors", "model.json", "best.safetensors", "best.json"
    }  # fmt: skip


def test_the_config_has_every_argument(whole):
    config = read_json(whole[0] / "config.json")
    assert (config["agent"], config["library"]) == ("dqn", "stable-baselines3")
    assert (config["settings"]["steps"], config["settings"]["env"], config["settings"]["seed"]) == (
        252,
        "CartPole-v1",
        0,
    )
    assert config["hyperparams"] == {"learning_starts": 20, "buffer_size": 500, "policy_kwargs": {"net_arch": [8]}}
    (start,) = config["starts"]
    assert {"git_commit", "versions", "command"} <= start.keys()
    assert start["device"].startswith("cpu, ")


def test_events_and_table_have_the_same_tags(whole):
    path, _ = whole
    tags = EventAccumulator(str(path)).Reload().Tags()["scalars"]
    assert {
        "eval/mean_reward", "eval/mean_ep_length", "rollout/ep_rew_mean", "rollout/ep_len_mean",
        "rollout/exploration_rate", "time/fps", "train/loss", "train/learning_rate", "weights/q_net.fc/v_norm",
    } <= set(tags)  # fmt: skip
    rows = read_progress(path)
    assert {tag for row in rows for tag in row} == {"step", *(tag for tag in tags if not tag.startswith("time/"))}
    assert [row["step"] for row in rows if row["eval/mean_reward"]] == ["100", "200", "252"]
    assert [row["step"] for row in rows if row["rollout/ep_rew_mean"]] == ["60", "120", "180", "240", "252"]


def test_settings_and_hyperparameters_are_a_text(whole):
    (event,) = EventAccumulator(str(whole[0])).Reload().Tensors("settings/text_summary")
    (text,) = event.tensor_proto.string_val
    assert {"| env | CartPole-v1 | None |", "| learning_starts | 20 | None |"} <= set(text.decode().splitlines())


def test_the_result_is_the_line_of_evaluate(whole):
    assert whole[1].startswith("CartPole-v1: ")
    assert whole[1].endswith(" over 3 whole games (epsilon 0, model.safetensors of step 252)")


def test_both_models_are_the_last_one(whole):
    path, _ = whole
    model, (tensors, about) = DQN.load(path / "model.zip", device="cpu"), read_model(path / "model")
    assert torch.equal(tensors["q_net.q_net.0.weight"], model.q_net.q_net[0].weight)
    assert (about["step"], about["game"], about["env"], about["play"]) == (252, None, "CartPole-v1", {"epsilon": 0.0})
    assert model.num_timesteps == 252


def test_the_best_policy_is_kept(tmp_path, monkeypatch):
    scores = iter([[5.0], [9.0, 8.0], [7.0]])
    monkeypatch.setattr(sb3_run, "play_games", lambda *_, **__: sb3_run.Games(next(scores), [1]))
    with started(tmp_path / "run") as run:
        run.learn()
        assert run.evaluate().startswith("CartPole-v1: 7.0")
    about = read_json(tmp_path / "run" / "best.json")
    assert (about["step"], about["mean_reward"]) == (200, 8.5)


@pytest.mark.parametrize(("algo", "numbers"), [("dqn", DQN_NUMBERS), ("a2c", ())])
def test_evaluations_do_not_change_what_is_learned(algo, numbers, tmp_path):
    """To the bit, with the exploration of either kind."""
    learned = []
    for interval in (0, 40):
        options = {"algo": algo, "hyperparams": numbers, "eval_interval": interval, "steps": 200}
        with started(tmp_path / str(interval), **options) as run:
            run.learn()
            learned.append({name: value.clone() for name, value in run.model.policy.state_dict().items()})
    assert "eval/mean_reward" in (tmp_path / "40" / "progress.csv").read_text()
    assert "eval/mean_reward" not in (tmp_path / "0" / "progress.csv").read_text()
    assert all(torch.equal(value, learned[1][name]) for name, value in learned[0].items())


def test_evaluations_are_of_other_games_than_those_of_training(tmp_path, monkeypatch):
    seeds = []
    make = sb3_run.make_evaluation_envs
    monkeypatch.setattr(
        sb3_run,
        "make_evaluation_envs",
        lambda task, number, seed: seeds.append((number, seed)) or make(task, number, seed),
    )
    with started(tmp_path / "run", seed=3, eval_episodes=20) as run:
        assert run.evaluate()
        run.learn()
        assert run.evaluate()
        started_with = run.model.seed
    first, *_, last = seeds
    assert (first, last) == tuple((8, integer(3, Purpose.EVALUATION, step, bits=31)) for step in (0, 252))
    training = integer(3, Purpose.TRAINING, bits=31)
    assert len({seed for _, seed in seeds} | {training, started_with}) == len(seeds) + 2


def test_no_episodes_are_no_evaluation(tmp_path):
    with started(tmp_path / "run", eval_episodes=0) as run:
        run.learn()
        assert run.evaluate() is None
    assert "eval/" not in (tmp_path / "run" / "progress.csv").read_text()


def test_a_stop_ends_training_at_the_next_step(tmp_path):
    steps = []

    def stop():
        steps.append(None)
        return len(steps) > 30

    with started(tmp_path / "run", stop, steps=10_000, eval_interval=0) as run:
        run.learn()
        assert run.steps == 31
        run.save()
        assert run.evaluate() is None
    assert read_json(tmp_path / "run" / "model.json")["step"] == 31


def test_a_stop_ends_an_evaluation_and_records_nothing(tmp_path):
    asked = []
    with started(tmp_path / "run", lambda: bool(asked), eval_interval=0) as run:
        play = sb3_run.play_games

        def interrupted(*arguments, **options):
            asked.append(None)
            return play(*arguments, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sb3_run, "play_games", interrupted)
            assert run.evaluate() is None
    assert "eval/" not in (tmp_path / "run" / "progress.csv").read_text()
    assert not (tmp_path / "run" / "best.json").exists()


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ValueError, match=r"already holds files: choose another --run-dir$"):
        started(tmp_path)
    assert os.listdir(tmp_path) == ["mine"]


def test_what_does_not_fit_leaves_no_folder(tmp_path):
    with pytest.raises(AssertionError, match="only supports"):
        started(tmp_path / "run", env="Pendulum-v1")
    assert not (tmp_path / "run").exists()
    with (
        pytest.raises(ValueError, match="DataDependentInit needs 500 observations"),
        started(tmp_path / "run", init="data") as run,
    ):
        run.learn()
    assert not (tmp_path / "run").exists()


def test_a_fault_in_the_middle_leaves_the_folder(tmp_path):
    def fail(run):
        with run:
            run.learn()
            raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        fail(started(tmp_path / "run"))
    assert (tmp_path / "run" / "config.json").is_file()


@pytest.mark.parametrize("masked", [True, False])
def test_masks_are_used_where_the_environment_has_them(masked, tmp_path):
    class Task(gym.Env):
        observation_space = gym.spaces.Box(-1, 1, (2,))
        action_space = gym.spaces.Discrete(3)
        metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
        taken = set()  # noqa: RUF012

        def __init__(self, render_mode=None):
            self.render_mode = render_mode
            if masked:
                self.action_masks = lambda: [True, False, False]

        def reset(self, seed=None, options=None):
            self.made = 0
            return np.zeros(2, np.float32), {}

        def step(self, action):
            self.taken.add(int(action))
            self.made += 1
            return np.zeros(2, np.float32), 0.0, self.made == 5, False, {}

    gym.register("WnrlMasks-v0", Task)
    numbers = ("n_steps:16", "batch_size:16", "n_epochs:1")
    options = {"algo": "ppo_mask", "env": "WnrlMasks-v0", "hyperparams": numbers, "steps": 48, "eval_interval": 16}
    try:
        with started(tmp_path / "run", **options) as run:
            run.learn()
            assert run.evaluate()
    finally:
        gym.registry.pop("WnrlMasks-v0")
    assert Task.taken == ({0} if masked else {0, 1, 2})


def test_a_logger_output_writes_numbers_alone():
    written = []

    class Rows:
        def write(self, step, scalars):
            written.append((step, scalars))

        def close(self):
            pass

    values = {"a/b": np.float32(0.5), "c": 3, "text": "x", "figure": Figure(None, close=True), "time/clock": 9}
    excluded = {**dict.fromkeys(values), "time/clock": ("tensorboard",)}
    TrackerOutput(Rows()).write(values, excluded, 7)
    assert written == [(7, {"a/b": 0.5, "c": 3.0})]
    assert json.dumps(written)


def test_an_evaluation_plays_with_its_epsilon(tmp_path, monkeypatch):
    drawn = []
    play = sb3_run.play_games
    monkeypatch.setattr(
        sb3_run, "play_games", lambda *args, **options: drawn.append(options["epsilon"]) or play(*args, **options)
    )
    with started(tmp_path / "run", eval_epsilon=0.5) as run:
        assert "(epsilon 0.5, model.safetensors" in run.evaluate()
    assert drawn == [0.5]
    assert read_model(tmp_path / "run" / "best")[1]["play"] == {"epsilon": 0.5}


def test_epsilon_for_actions_that_are_not_discrete_is_refused_before_there_is_a_folder(tmp_path):
    with pytest.raises(ValueError, match="epsilon needs discrete actions"):
        started(tmp_path / "run", algo="ppo", env="Pendulum-v1", hyperparams=(), eval_epsilon=0.1)
    assert not (tmp_path / "run").exists()


def test_a_game_has_its_conditions_in_tensorboard_and_in_its_model(tmp_path):
    game = {"env": None, "game": "Pong", "protocol": "nature", "fire_reset": False, "max_frames": 18_000}
    with started(tmp_path / "run", **game, eval_epsilon=0.05, hyperparams=("buffer_size:50",)) as run:
        run.save()
        words = run.conditions
    assert words == (
        "protocol nature: no sticky actions, up to 30 no-ops, FIRE left to the agent, minimal action set, life loss in "
        "training, at most 18,000 frames"
    )
    (event,) = EventAccumulator(str(tmp_path / "run")).Reload().Tensors("conditions/text_summary")
    assert event.tensor_proto.string_val == [words.encode()]
    assert read_model(tmp_path / "run" / "model")[1]["protocol"] == "nature"


def test_a_large_policy_is_one_that_evaluation_has_to_be_told_to_trust(tmp_path, monkeypatch):
    with started(tmp_path / "run") as run:
        run.save()
        assert not run.is_large
        numbers = sum(t.numel() for t in read_model(tmp_path / "run" / "model")[0].values())
        for most, large in ((numbers, False), (numbers - 1, True)):
            monkeypatch.setattr(sb3_run.policy_files, "MOST_NUMBERS", most)
            assert run.is_large == large


def test_a_policy_that_is_not_finite_is_not_saved(tmp_path):
    with started(tmp_path / "run", steps=40) as run:
        run.learn()
        with torch.no_grad():
            next(run.model.policy.parameters()).view(-1)[0] = float("nan")
        assert not run.save_finite()
        assert not (tmp_path / "run" / "model.zip").exists()
        with torch.no_grad():
            next(run.model.policy.parameters()).view(-1)[0] = 0.0
        assert run.save_finite()
        assert (tmp_path / "run" / "model.zip").exists()
