"""Our agents against stable-baselines3 and sb3-contrib: the same algorithm, network and settings on both sides."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from agents.registry import AGENTS
from agents.runtime.devices import resolve_device
from agents.runtime.hardware import tuned
from agents.settings.flat import from_flat
from agents.settings.run import Precision, TrainSettings
from agents.training.task import Task
from agents.training.trainer import Trainer
from envs.games import game_name

Advance = Callable[[int], int]  # makes at least this many steps and returns how many it made


@dataclass(frozen=True)
class Race:
    """An algorithm on both sides."""

    agent: str
    """Name of our agent."""
    sb3_algorithm: str
    """Class of stable-baselines3 or of sb3-contrib."""
    num_envs: int
    """Environments on both sides."""
    settings: dict[str, Any]
    """Of our agent, by flat name; the others have the dataclasses' defaults."""
    sb3_settings: dict[str, Any]
    """Arguments of `sb3_algorithm`; the others have its defaults."""
    sb3_recurrent: bool = False
    """Whether the policy of `sb3_algorithm` has an LSTM."""
    vector_settings: dict[str, Any] = field(default_factory=dict)
    """Further settings of our agent for environments without images."""


WARMUP = 1_024  # steps before the first timing; half of them are random play where a replay is filled
REPLAY = {"learning_starts": WARMUP // 2, "replay_size": 10_000}
SB3_REPLAY = {
    "learning_rate": 1e-4,
    "buffer_size": 10_000,
    "learning_starts": WARMUP // 2,
    "train_freq": 1,
    "gradient_steps": 2,  # 8 environments make 8 steps at once, and each update is for 4
    "target_update_interval": 1_000,
}
TANH = {"hidden": (64, 64), "activation": "tanh"}
RACES = {
    "dqn": Race("dqn", "DQN", 8, REPLAY, SB3_REPLAY, vector_settings={"hidden": (64, 64)}),
    "qrdqn": Race(
        "dqn",
        "QRDQN",
        8,
        {**REPLAY, "distribution": "quantile"},
        {**SB3_REPLAY, "policy_kwargs": {"n_quantiles": 200}},
        vector_settings={"hidden": (64, 64)},
    ),
    "ppo": Race(
        "ppo",
        "PPO",
        8,
        {"rollout_length": 128, "epochs": 4, "minibatches": 4},
        {"n_steps": 128, "n_epochs": 4, "batch_size": 256},
        vector_settings=TANH,
    ),
    "ppo-recurrent": Race(
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
        sb3_recurrent=True,
        vector_settings={"hidden": (64,), "activation": "tanh"},
    ),
    "a2c": Race("a2c", "A2C", 16, {"optimizer": "rmsprop-a2c"}, {"n_steps": 5}, vector_settings=TANH),
}
"""By name. Batches of 32 per 4 steps in `dqn` and `qrdqn`; minibatches of 256 in `ppo`."""


@dataclass(frozen=True)
class RaceTask:
    """The task of both sides, and the device."""

    game: str | None
    """Atari game, or None."""
    env: str | None
    """Any other Gymnasium id, or None."""
    device: str = "auto"
    """cpu, cuda, or auto (CUDA where available)."""
    precision: Precision = "auto"
    """Of our networks' products; stable-baselines3 computes in float32."""


def our_side(trainer: Trainer) -> Advance:
    """Our side of a race, which continues at each call; torch is set as for a run."""

    def advance(steps: int) -> int:
        before = trainer.steps
        with tuned(trainer.agent.learner.network, trainer.agent.learner.device):
            trainer.run(before + steps)
        return trainer.steps - before

    return advance


def our_trainer(race: Race, task: RaceTask, norm: str, **changes: Any) -> Trainer:
    """Our agent and its environments; `changes` are settings, by flat name, that differ from those of the race."""
    spec = AGENTS[race.agent]
    values = {**asdict(task), "norm": norm, "num_envs": race.num_envs, **race.settings}
    if task.game is None:
        values |= race.vector_settings
    kind = TrainSettings[spec.settings]  # type: ignore[name-defined]
    settings: Any = from_flat(kind, {**values, **changes})
    environment = Task(settings.run.task).training(settings.run.num_envs, settings.run.env_groups)
    return Trainer(spec.build(settings.run, settings.agent, environment), environment, seed=0)


def sb3_side(race: Race, task: RaceTask) -> Advance:
    """The side of stable-baselines3, which continues at each call."""
    model = sb3_model(race, task)

    def advance(steps: int) -> int:
        before = model.num_timesteps
        model.learn(steps, reset_num_timesteps=False)
        return model.num_timesteps - before

    return advance


def sb3_model(race: Race, task: RaceTask, environment: Any = None, seed: int = 0) -> Any:
    """The agent of stable-baselines3, with its environments if it is given no others.

    Raises:
        ValueError: the algorithm is one of sb3-contrib, which is not installed.
    """
    algorithm = _algorithm(race.sb3_algorithm)
    policy = f"{'Cnn' if task.game else 'Mlp'}{'Lstm' if race.sb3_recurrent else ''}Policy"
    environment = environment or sb3_environment(task, race.num_envs)
    return algorithm(policy, environment, device=resolve_device(task.device), seed=seed, **race.sb3_settings)


def _algorithm(name: str) -> Any:
    import stable_baselines3

    if hasattr(stable_baselines3, name):
        return getattr(stable_baselines3, name)
    try:
        return getattr(importlib.import_module("sb3_contrib"), name)
    except ImportError as error:
        raise ValueError(f'{name} needs sb3-contrib: pip install "wnrl[contrib]"') from error


def sb3_environment(task: RaceTask, num_envs: int, vec_env_cls: Any = None) -> Any:
    """Environments with the wrappers of stable-baselines3, the emulator set up as for ours."""
    from stable_baselines3.common.env_util import make_atari_env, make_vec_env
    from stable_baselines3.common.vec_env import VecFrameStack

    if task.env is not None:
        return make_vec_env(task.env, num_envs, seed=0)
    assert task.game is not None
    emulator = {"frameskip": 1, "repeat_action_probability": 0.0}
    game = f"ale_py:ALE/{game_name(task.game)}-v5"  # imports ale_py, which registers the games, in another process too
    return VecFrameStack(make_atari_env(game, num_envs, seed=0, env_kwargs=emulator, vec_env_cls=vec_env_cls), 4)
