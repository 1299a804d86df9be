"""Defaults of runs with the algorithms of stable-baselines3.

Those of Atari games are RL Zoo's (`hyperparams/ALGORITHM.yml`, section `atari`, of github.com/DLR-RM/rl-baselines3-zoo
at 22e3ff2), in its notation: `lin_2.5e-4` is a schedule that falls linearly from 2.5e-4 to 0. TRPO has no such section.
"""

from __future__ import annotations

from agents.settings.presets.base import Values

GAME_RUN: Values = {"steps": 10_000_000, "eval_interval": 250_000, "eval_episodes": 10}

_PPO: Values = {
    "n_steps": 128,
    "n_epochs": 4,
    "batch_size": 256,
    "learning_rate": "lin_2.5e-4",
    "clip_range": "lin_0.1",
    "vf_coef": 0.5,
    "ent_coef": 0.01,
}
_REPLAY: Values = {"replay_buffer_class": "FrameReplayBuffer"}
_GAMES: dict[str, Values] = {
    "a2c": {
        "ent_coef": 0.01,
        "vf_coef": 0.25,
        "policy_kwargs": {"optimizer_class": "RMSpropTFLike", "optimizer_kwargs": {"eps": 1e-5}},
    },
    "dqn": {
        **_REPLAY,
        "buffer_size": 100_000,
        "learning_rate": 1e-4,
        "batch_size": 32,
        "learning_starts": 100_000,
        "target_update_interval": 1_000,
        "train_freq": 4,
        "gradient_steps": 1,
        "exploration_fraction": 0.1,
        "exploration_final_eps": 0.01,
    },
    "ppo": _PPO,
    "ppo_mask": _PPO,
    "ppo_recurrent": {**_PPO, "policy_kwargs": {"enable_critic_lstm": False, "lstm_hidden_size": 128}},
    "qrdqn": {**_REPLAY, "buffer_size": 1_000_000, "learning_starts": 50_000, "exploration_fraction": 0.025},
}
EPSILON_GREEDY = ("dqn", "qrdqn")
"""Algorithms that explore by random actions."""
_NUM_ENVS = {"a2c": 16, "ppo": 8, "ppo_mask": 8, "ppo_recurrent": 8, "trpo": 8}


def sb3_preset(algo: str, *, game: bool) -> Values:
    """Defaults of a run's settings by flat name.

    Args:
        algo: the algorithm; an unknown one has the defaults of none.
        game: whether the task is an Atari game.
    """
    if not game:
        return {}
    recurrent: Values = {"life_loss": False} if algo == "ppo_recurrent" else {}
    return {**GAME_RUN, "num_envs": _NUM_ENVS.get(algo, 1), **recurrent}


def game_hyperparams(algo: str, steps: int) -> Values:
    """Hyperparameters of an algorithm on Atari games, as plain values.

    RL Zoo's are for 10 million steps. A shorter run starts to learn sooner, after the same share of its steps, and has
    a replay buffer of no more steps than it makes.

    Args:
        algo: the algorithm.
        steps: length of the run.
    """
    values = dict(_GAMES.get(algo, {}))
    if "learning_starts" in values:
        values["learning_starts"] = min(values["learning_starts"], values["learning_starts"] * steps // 10_000_000)
        values["buffer_size"] = min(values["buffer_size"], steps)
    return values
