"""The agents of stable-baselines3 and sb3-contrib beside ours: the same algorithm, network and settings."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agents.registry import AGENTS
from agents.runtime.devices import resolve_device
from agents.settings.flat import from_flat
from agents.settings.run import Precision, TrainSettings
from agents.training.environments import make_training_environment
from agents.training.trainer import Trainer

Advance = Callable[[int], int]  # asks for so many steps, returns how many were made


@dataclass(frozen=True)
class Rival:
    """An algorithm on both sides."""

    agent: str
    """Ours, by name."""
    algorithm: str
    """Theirs: a class of stable-baselines3, or of sb3-contrib."""
    num_envs: int
    """Environments on both sides."""
    ours: dict[str, Any]
    """Our settings, beside the defaults of the agent's dataclass."""
    theirs: dict[str, Any]
    """Their settings, beside their own defaults."""
    recurrent: bool = False
    """Whether their policy is one with an LSTM."""
    vector: dict[str, Any] = field(default_factory=dict)
    """Our settings for environments without images, beside `ours`."""


WARMUP = 1_024  # steps before the first timing; half of them are random play where a replay is filled
REPLAY = {"learning_starts": WARMUP // 2, "replay_size": 10_000}
THEIR_REPLAY = {
    "learning_rate": 1e-4,
    "buffer_size": 10_000,
    "learning_starts": WARMUP // 2,
    "train_freq": 1,
    "gradient_steps": 2,  # 8 environments make 8 steps at once, and each update is for 4
    "target_update_interval": 1_000,
}
TANH = {"hidden": (64, 64), "activation": "tanh"}
RIVALS = {
    "dqn": Rival("dqn", "DQN", 8, REPLAY, THEIR_REPLAY, vector={"hidden": (64, 64)}),
    "qrdqn": Rival(
        "dqn",
        "QRDQN",
        8,
        {**REPLAY, "distribution": "quantile"},
        {**THEIR_REPLAY, "policy_kwargs": {"n_quantiles": 200}},
        vector={"hidden": (64, 64)},
    ),
    "ppo": Rival(
        "ppo",
        "PPO",
        8,
        {"rollout_length": 128, "epochs": 4, "minibatches": 4},
        {"n_steps": 128, "n_epochs": 4, "batch_size": 256},
        vector=TANH,
    ),
    "ppo-recurrent": Rival(
        "ppo",
        "RecurrentPPO",
        8,
        {"rollout_length": 128, "epochs": 4, "minibatches": 4, "lstm": 256},
        {
            "n_steps": 128,
            "n_epochs": 4,
            "batch_size": 256,
            "policy_kwargs": {"enable_critic_lstm": False, "shared_lstm": True},  # as ours
        },
        recurrent=True,
        vector={"hidden": (64,), "activation": "tanh"},
    ),
    "a2c": Rival("a2c", "A2C", 16, {"optimizer": "rmsprop-a2c"}, {"n_steps": 5}, vector=TANH),
}
"""By name. Batches of 32 per 4 steps in `dqn` and `qrdqn`; minibatches of 256 in `ppo`."""


@dataclass(frozen=True)
class Task:
    """What both sides play, and on what."""

    game: str | None
    """Atari game, or None."""
    env: str | None
    """Any other Gymnasium id, or None."""
    device: str = "auto"
    """By name."""
    precision: Precision = "auto"
    """Of our networks' products; theirs is float32."""


def advancing(trainer: Trainer) -> Advance:
    """A run that goes on as asked."""

    def advance(steps: int) -> int:
        before = trainer.steps
        trainer.run(before + steps)
        return trainer.steps - before

    return advance


def our_trainer(rival: Rival, task: Task, norm: str, **changes: Any) -> Trainer:
    """Our agent and its environments; `changes` are settings that differ from the race's."""
    spec = AGENTS[rival.agent]
    settings: Any = from_flat(
        TrainSettings[spec.settings],  # type: ignore[name-defined]
        {"game": task.game, "env": task.env, "device": task.device, "precision": task.precision},
        **{"norm": norm, "num_envs": rival.num_envs, **rival.ours},
        **{**(rival.vector if task.game is None else {}), **changes},
    )
    environment = make_training_environment(settings.run)
    return Trainer(spec.build(settings.run, settings.agent, environment), environment, seed=0)


def theirs(rival: Rival, task: Task) -> Advance:
    """stable-baselines3's side, see `their_model`."""
    model = their_model(rival, task)

    def advance(steps: int) -> int:
        before = model.num_timesteps
        model.learn(steps, reset_num_timesteps=False)
        return model.num_timesteps - before

    return advance


def their_model(rival: Rival, task: Task) -> Any:
    """stable-baselines3's agent with its environments.

    Raises:
        ValueError: the algorithm is one of sb3-contrib, which is not installed.
    """
    algorithm = _algorithm(rival.algorithm)
    policy = f"{'Cnn' if task.game else 'Mlp'}{'Lstm' if rival.recurrent else ''}Policy"
    environment = their_environment(task, rival.num_envs)
    return algorithm(policy, environment, device=resolve_device(task.device), seed=0, **rival.theirs)


def _algorithm(name: str) -> Any:
    import stable_baselines3

    if hasattr(stable_baselines3, name):
        return getattr(stable_baselines3, name)
    try:
        return getattr(importlib.import_module("sb3_contrib"), name)
    except ImportError as error:
        raise ValueError(f'{name} needs sb3-contrib: pip install "wnrl[contrib]"') from error


def their_environment(task: Task, num_envs: int) -> Any:
    """With stable-baselines3's own wrappers, the emulator's steps as ours."""
    from stable_baselines3.common.env_util import make_atari_env, make_vec_env
    from stable_baselines3.common.vec_env import VecFrameStack

    if task.env is not None:
        return make_vec_env(task.env, num_envs, seed=0)
    import ale_py  # noqa: F401  (registers the games)

    emulator = {"frameskip": 1, "repeat_action_probability": 0.0}
    return VecFrameStack(make_atari_env(f"ALE/{task.game}-v5", num_envs, seed=0, env_kwargs=emulator), 4)
