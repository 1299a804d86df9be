"""The values of RL Zoo's files, written out once more."""

import json
import typing

import pytest

from agents.settings.flat import flat_defaults
from agents.settings.presets.sb3 import game_hyperparams, sb3_preset
from agents.settings.sb3 import Algorithm, SB3Settings

TEN_MILLION = 10_000_000
ALGORITHMS = typing.get_args(Algorithm)
PPO = {
    "n_steps": 128, "n_epochs": 4, "batch_size": 256, "learning_rate": "lin_2.5e-4", "clip_range": "lin_0.1",
    "vf_coef": 0.5, "ent_coef": 0.01,
}  # fmt: skip
ZOO = {
    "ppo": PPO,
    "ppo_mask": PPO,
    "ppo_recurrent": {**PPO, "policy_kwargs": {"enable_critic_lstm": False, "lstm_hidden_size": 128}},
    "a2c": {
        "ent_coef": 0.01,
        "vf_coef": 0.25,
        "policy_kwargs": {"optimizer_class": "RMSpropTFLike", "optimizer_kwargs": {"eps": 1e-5}},
    },
    "dqn": {
        "buffer_size": 100_000, "learning_rate": 1e-4, "batch_size": 32, "learning_starts": 100_000,
        "target_update_interval": 1_000, "train_freq": 4, "gradient_steps": 1, "exploration_fraction": 0.1,
        "exploration_final_eps": 0.01, "replay_buffer_class": "FrameReplayBuffer",
    },
    "qrdqn": {
        "learning_starts": 50_000, "exploration_fraction": 0.025, "buffer_size": 1_000_000,
        "replay_buffer_class": "FrameReplayBuffer",
    },
}  # fmt: skip


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_hyperparameters_of_games_are_those_of_rl_zoo(algo):
    values = game_hyperparams(algo, TEN_MILLION)
    assert values == ZOO.get(algo, {})
    assert json.loads(json.dumps(values)) == values


def test_a_short_run_starts_to_learn_sooner_and_stores_no_more_than_it_makes():
    values = game_hyperparams("dqn", 20_000)
    assert (values["learning_starts"], values["buffer_size"]) == (200, 20_000)
    values = game_hyperparams("qrdqn", 2 * TEN_MILLION)
    assert (values["learning_starts"], values["buffer_size"]) == (50_000, 1_000_000)
    assert game_hyperparams("ppo", 20_000) == PPO


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_settings_of_a_run_on_a_game(algo):
    values = sb3_preset(algo, game=True)
    assert values.keys() <= flat_defaults(SB3Settings).keys()
    num_envs = {"a2c": 16, "dqn": 1, "ppo": 8, "ppo_mask": 8, "ppo_recurrent": 8, "qrdqn": 1, "trpo": 8}
    assert values["num_envs"] == num_envs.get(algo, 1)
    assert values["steps"] == TEN_MILLION
    assert values.get("life_loss", True) == (algo != "ppo_recurrent")


def test_other_tasks_have_the_defaults_of_the_settings():
    assert sb3_preset("dqn", game=False) == {}
