"""stable-baselines3 on an Atari game, with its own environments and with `wnrl.sb3.AtariVecEnv`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from agents.benchmarks.races import RACES, WARMUP, Advance, RaceTask, sb3_environment, sb3_model
from agents.benchmarks.timing import in_turn, medians, rate

EXPLORATION = 20_000  # steps in which the ε of DQN and QR-DQN falls from 1 to 0.05

Figures = dict[str, Any]


def playing_rates(task: RaceTask, *, num_envs: int, steps: int, rounds: int) -> Figures:
    """Steps per second with random actions, and ratios to `make_atari_env` with all environments in one process.

    Args:
        task: an Atari game.
        num_envs: N.
        steps: per timing.
        rounds: timings per side; the sides take turns.
    """
    environments = {name: make(num_envs) for name, make in _environments(task).items()}
    sides = {name: _playing(environment) for name, environment in environments.items()}
    try:
        rates = _rates(sides, steps, rounds)
    finally:
        _close(environments)
    return {"steps_per_second": rates, "summary": medians(rates)}


def learning_rates(task: RaceTask, algorithm: str, *, num_envs: int, steps: int, rounds: int, seed: int) -> Figures:
    """Steps per second of `learn`, and scores, of an algorithm with each kind of environments in one process.

    Args:
        task: an Atari game.
        algorithm: of the races, where its settings are.
        num_envs: N.
        steps: per timing. A side learns on from one timing to the next.
        rounds: timings per side; the sides take turns.
        seed: of both sides.

    Returns:
        Rates and their summary; `scores` too, by side: `[steps, mean of the last 100 games]` after each timing.
    """
    makers = {name: make for name, make in _environments(task).items() if name != SEVERAL_PROCESSES}
    environments = {name: make(num_envs) for name, make in makers.items()}
    models = {name: _model(task, algorithm, environment, seed) for name, environment in environments.items()}
    scores: dict[str, list[tuple[int, float]]] = {name: [] for name in models}
    sides = {name: partial(_learn, model, scores[name]) for name, model in models.items()}
    try:
        rates = _rates(sides, steps, rounds)
    finally:
        _close(environments)
    return {"steps_per_second": rates, "summary": medians(rates), "scores": scores}


ONE_PROCESS, SEVERAL_PROCESSES, OURS = "DummyVecEnv", "SubprocVecEnv", "AtariVecEnv"


def _environments(task: RaceTask) -> dict[str, Callable[[int], Any]]:
    """What makes N environments of each kind, the host's own first."""
    from stable_baselines3.common.vec_env import SubprocVecEnv

    from wnrl.sb3 import AtariVecEnv

    assert task.game is not None
    return {
        ONE_PROCESS: partial(sb3_environment, task),
        SEVERAL_PROCESSES: partial(sb3_environment, task, vec_env_cls=SubprocVecEnv),
        OURS: partial(AtariVecEnv, task.game, seed=0),
    }


def _rates(sides: Mapping[str, Advance], steps: int, rounds: int) -> dict[str, list[float]]:
    for advance in sides.values():
        advance(WARMUP)
    return in_turn({name: rate(advance, steps) for name, advance in sides.items()}, rounds)


def _close(environments: Mapping[str, Any]) -> None:
    for environment in environments.values():
        environment.close()


def _playing(environment: Any) -> Advance:
    """Random actions in an environment of the host's interface."""
    environment.reset()
    rng, size = np.random.default_rng(0), environment.num_envs

    def advance(steps: int) -> int:
        calls = -(-steps // size)
        for _ in range(calls):
            environment.step(rng.integers(environment.action_space.n, size=size))
        return calls * size

    return advance


def _model(task: RaceTask, algorithm: str, environment: Any, seed: int) -> Any:
    model = sb3_model(RACES[algorithm], task, environment, seed)
    if hasattr(model, "exploration_schedule"):  # the host's is a share of one call of `learn`
        model.exploration_schedule = lambda _: max(0.05, 1 - 0.95 * model.num_timesteps / EXPLORATION)
    return model


def _learn(model: Any, scores: list[tuple[int, float]], steps: int) -> int:
    """Learn for at least this many steps more, and note the score."""
    before = model.num_timesteps
    model.learn(steps, reset_num_timesteps=False)
    games = [episode["r"] for episode in model.ep_info_buffer]
    scores.append((model.num_timesteps, float(np.mean(games)) if games else 0.0))
    return model.num_timesteps - before


def score_table(figures: Figures) -> str:
    """Table of the mean score of the last 100 games after each timing; the first line is that of the warm-up."""
    sides = figures["scores"]
    lines = [
        f"{row[0][0]:12,d}" + "".join(f"{score:14.1f}" for _, score in row) for row in zip(*sides.values(), strict=True)
    ]
    return "\n".join([f"{'steps':>12}" + "".join(f"{name:>14}" for name in sides), *lines])
