"""Steps per second of an Atari game, from the bare emulator up to an agent that acts in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from gymnasium.spaces import Discrete

from agents.benchmarks.races import RACES, Advance, RaceTask, our_side, our_trainer, sb3_environment
from agents.benchmarks.timing import in_turn, medians, rate
from envs import Environment, make, rom_id

FRAME_SKIP = 4
NEVER = 2**62  # steps
WARMUP = 256


def emulation_rates(task: RaceTask, *, num_envs: int, steps: int, rounds: int) -> dict[str, Any]:
    """Steps per second (of 4 frames each), with ratios to the bare emulator.

    Sides: `emulator`, ale-py's vector environment with random actions, emulating, pooling, resizing and stacking in
    C++ threads: the upper bound; `frames on one thread`, the game's frames without screens; `stable-baselines3`, its
    environment with random actions; `Atari`, ours with random actions; and a DQN that acts and stores transitions but
    never updates, with each of two normalizers.

    Args:
        task: an Atari game.
        num_envs: N.
        steps: per timing.
        rounds: timings per side; the sides take turns.
    """
    assert task.game is not None
    sides = {
        "emulator": _emulator(task.game, num_envs),
        "frames on one thread": _frames(task.game),
        "stable-baselines3": _sb3_random_play(task, num_envs),
        "Atari": _random_play(make(task.game, num_envs=num_envs)),
        **{f"DQN acting, {norm}": _acting(task, norm, num_envs) for norm in ("none", "weight")},
    }
    for advance in sides.values():
        advance(WARMUP)
    rates = in_turn({name: rate(advance, steps) for name, advance in sides.items()}, rounds)
    return {"steps_per_second": rates, "summary": medians(rates)}


def _emulator(game: str, num_envs: int) -> Advance:
    from ale_py.vector_env import AtariVectorEnv

    emulators = AtariVectorEnv(rom_id(game), num_envs, frameskip=FRAME_SKIP)
    emulators.reset(seed=0)
    num_actions = int(cast(Discrete, emulators.single_action_space).n)
    actions = np.random.default_rng(0).integers(num_actions, size=(1_000, num_envs))
    return _stepping(lambda time: emulators.step(actions[time % len(actions)]), num_envs)


def _frames(game: str) -> Advance:
    import ale_py
    from ale_py.roms import get_rom_path

    emulator = ale_py.ALEInterface()
    emulator.setLoggerMode(ale_py.LoggerMode.Error)
    emulator.setInt("random_seed", 0)
    emulator.loadROM(cast(Path, get_rom_path(rom_id(game))))
    actions = emulator.getMinimalActionSet()

    def step(time: int) -> None:
        for _ in range(FRAME_SKIP):
            emulator.act(actions[time % len(actions)])
        if emulator.game_over():
            emulator.reset_game()

    return _stepping(step, 1)


def _random_play(environment: Environment) -> Advance:
    environment.reset(seed=0)
    rng = np.random.default_rng(0)
    size = environment.num_envs
    return _stepping(lambda time: environment.step(rng.integers(environment.num_actions, size=size)), size)


def _sb3_random_play(task: RaceTask, num_envs: int) -> Advance:
    environment = sb3_environment(task, num_envs)
    environment.reset()
    rng, size = np.random.default_rng(0), environment.num_envs
    return _stepping(lambda time: environment.step(rng.integers(environment.action_space.n, size=size)), size)


def _acting(task: RaceTask, norm: str, num_envs: int) -> Advance:
    return our_side(our_trainer(RACES["dqn"], task, norm, num_envs=num_envs, learning_starts=0, train_interval=NEVER))


def _stepping(step: Callable[[int], Any], size: int) -> Advance:
    """Calls `step` with the number of the call; each call makes `size` steps."""
    time = 0

    def advance(steps: int) -> int:
        nonlocal time
        calls = -(-steps // size)
        for _ in range(calls):
            step(time)
            time += 1
        return calls * size

    return advance
