"""Steps per second of an Atari game, from the bare emulator up to an agent that acts in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from gymnasium.spaces import Discrete

from agents.benchmarks.races import RACES, Advance, RaceTask, our_side, our_trainer, sb3_environment
from agents.benchmarks.raw_ale import FRAME_SKIP, RawALE, frames
from agents.benchmarks.timing import in_turn, medians, rate
from envs import Environment, Groups, TimeStep, make, rom_id
from envs.atari import usable_cores
from envs.groups import joined

NEVER = 2**62  # steps
WARMUP = 256


def emulation_rates(
    task: RaceTask, *, num_envs: int, steps: int, rounds: int, groups: Sequence[int] = (1,)
) -> dict[str, Any]:
    """Steps per second (of 4 frames each), with ratios to the bare emulator.

    Sides: `emulator`, ale-py's vector environment with random actions, emulating, pooling, resizing and stacking in
    C++ threads; `frames on one thread`, the game's frames without screens, and the same in as many processes as there
    are cores: the upper bound; `stable-baselines3`, its environment with random actions; `Atari`, ours with random
    actions; and a DQN that acts and stores transitions but never updates, with each of two normalizers. The last two in
    each number of groups, of which one steps while another gets its actions.

    Args:
        task: an Atari game.
        num_envs: N.
        steps: per timing.
        rounds: timings per side; the sides take turns.
        groups: numbers of groups.

    Raises:
        ValueError: more groups than environments.
    """
    assert task.game is not None
    rom, cores = rom_id(task.game), usable_cores()
    ours = {
        in_groups("Atari", number): _random_play(make(task.game, None, num_envs, groups=number)) for number in groups
    }
    for norm in ("none", "weight"):
        ours |= {in_groups(f"DQN acting, {norm}", number): _acting(task, norm, num_envs, number) for number in groups}
    raw = RawALE(rom, cores)
    sides: dict[str, Advance] = {
        "emulator": _emulator(rom, num_envs),
        "frames on one thread": _stepping(frames(rom), 1),
        f"frames in {cores} processes": raw,
        "stable-baselines3": _sb3_random_play(task, num_envs),
        **ours,
    }
    try:
        for advance in sides.values():
            advance(WARMUP)
        rates = in_turn({name: rate(advance, steps) for name, advance in sides.items()}, rounds)
    finally:
        raw.close()
    return {"steps_per_second": rates, "summary": medians(rates)}


def in_groups(name: str, groups: int) -> str:
    """The name of a side whose environments step in so many groups."""
    return name if groups == 1 else f"{name}, {groups} groups"


def _emulator(rom: str, num_envs: int) -> Advance:
    from ale_py.vector_env import AtariVectorEnv

    emulators = AtariVectorEnv(rom, num_envs, frameskip=FRAME_SKIP)
    emulators.reset(seed=0)
    num_actions = int(cast(Discrete, emulators.single_action_space).n)
    actions = np.random.default_rng(0).integers(num_actions, size=(1_000, num_envs))
    return _stepping(lambda time: emulators.step(actions[time % len(actions)]), num_envs)


def _random_play(environment: Environment) -> Advance:
    environment.reset(seed=0)
    rng = np.random.default_rng(0)
    size = environment.num_envs
    if not isinstance(environment, Groups):
        return _stepping(lambda time: environment.step(rng.integers(environment.num_actions, size=size)), size)
    groups = environment

    def step(time: int) -> TimeStep:
        action, rows = rng.integers(groups.num_actions, size=size), []
        for index, part in enumerate(groups.parts):
            rows.append(groups.recv_from(index))
            groups.send_to(index, action[part])
        return joined(rows)

    groups.send(rng.integers(groups.num_actions, size=size))
    return _stepping(step, size)


def _sb3_random_play(task: RaceTask, num_envs: int) -> Advance:
    environment = sb3_environment(task, num_envs)
    environment.reset()
    rng, size = np.random.default_rng(0), environment.num_envs
    return _stepping(lambda time: environment.step(rng.integers(environment.action_space.n, size=size)), size)


def _acting(task: RaceTask, norm: str, num_envs: int, groups: int = 1) -> Advance:
    never: dict[str, Any] = {"learning_starts": 0, "train_interval": NEVER}
    return our_side(our_trainer(RACES["dqn"], task, norm, num_envs=num_envs, env_groups=groups, **never))


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
