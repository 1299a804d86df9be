"""Speed beside stable-baselines3, alternating in one run: python scripts/benchmark.py dqn --game Breakout"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from train_dqn import TrainDQN

from agents.building import make_dqn, make_training_environment
from agents.command_line import fail, read
from agents.devices import Precision, resolve_device
from agents.training import Trainer

Advance = Callable[[int], int]  # asks for so many steps, returns how many were made
WARMUP = 1_000  # steps before the first timing, half of them random play


@dataclass(frozen=True)
class Benchmark:
    """What is timed, and how often."""

    what: Annotated[Literal["dqn"], tyro.conf.Positional]
    """The agent: dqn (one update of 32 per 4 steps, on both sides)."""
    game: str = "Breakout"
    """Atari game."""
    num_envs: int = 8
    """Environments on both sides."""
    steps: int = 800
    """Steps per timing."""
    rounds: int = 7
    """Timings per side; the sides take turns."""
    threads: int = 0
    """Threads of torch; 0 leaves its default."""
    precision: Precision = "auto"
    """Of our networks; stable-baselines3's are float32."""
    device: str = "auto"
    """cpu, cuda, or auto (CUDA where there is one)."""
    json: Path | None = None
    """File to write the figures to."""


def main() -> int:
    """Time the sides in turn and print a table; the exit code."""
    try:
        arguments = read(Benchmark, __doc__ or "")
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        figures = {
            "machine": machine(arguments),
            "settings": settings(arguments),
            **time_in_turn(sides(arguments), arguments),
        }
    except ValueError as error:
        fail(error)
    print(table(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def sides(arguments: Benchmark) -> dict[str, Advance]:
    """What is compared, by name; each is warmed up."""
    made = {
        "stable-baselines3": stable_baselines3_dqn(arguments),
        "wnrl none": wnrl_dqn(arguments, "none"),
        "wnrl weight": wnrl_dqn(arguments, "weight"),
    }
    for advance in made.values():
        advance(WARMUP)
    return made


def wnrl_dqn(arguments: Benchmark, norm: str) -> Advance:
    """Our DQN with plain one-step targets."""
    run = TrainDQN(
        game=arguments.game,
        norm=norm,
        num_envs=arguments.num_envs,
        precision=arguments.precision,
        device=arguments.device,
    )
    run = replace(run, learning_starts=WARMUP // 2, replay_size=10_000)
    environment = make_training_environment(run)
    trainer = Trainer(make_dqn(run, run, environment), environment, seed=0)

    def advance(steps: int) -> int:
        before = trainer.steps
        trainer.run(before + steps)
        return trainer.steps - before

    return advance


def stable_baselines3_dqn(arguments: Benchmark) -> Advance:
    """stable-baselines3's DQN on its own Atari wrappers."""
    import ale_py  # noqa: F401  (registers the games)
    from stable_baselines3 import DQN
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    environment = VecFrameStack(
        make_atari_env(
            f"ALE/{arguments.game}-v5",
            arguments.num_envs,
            seed=0,
            env_kwargs={"frameskip": 1, "repeat_action_probability": 0.0},
        ),
        4,
    )
    model = DQN(
        "CnnPolicy",
        environment,
        learning_rate=1e-4,
        buffer_size=10_000,
        learning_starts=WARMUP // 2,
        train_freq=1,
        gradient_steps=max(1, arguments.num_envs // 4),
        target_update_interval=1_000,
        device=resolve_device(arguments.device),
        seed=0,
    )

    def advance(steps: int) -> int:
        before = model.num_timesteps
        model.learn(steps, reset_num_timesteps=False)
        return model.num_timesteps - before

    return advance


def time_in_turn(made: dict[str, Advance], arguments: Benchmark) -> dict[str, Any]:
    """Steps per second of each side: every timing, the median, and its ratio to the first side's."""
    rates: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(arguments.rounds):
        for name, advance in made.items():
            start = time.perf_counter()
            rates[name].append(advance(arguments.steps) / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    base = next(iter(medians.values()))
    return {
        "steps_per_second": rates,
        "median": medians,
        "ratio": {name: value / base for name, value in medians.items()},
    }


def machine(arguments: Benchmark) -> dict[str, Any]:
    """Device, cores, threads, precision and versions."""
    device = resolve_device(arguments.device)
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine() + " CPU",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": {name: metadata.version(name) for name in ("torch", "ale-py", "stable-baselines3")},
    }


def settings(arguments: Benchmark) -> dict[str, Any]:
    """The arguments, JSON-able."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(arguments).items()}


def table(figures: dict[str, Any]) -> str:
    """The medians and ratios, for reading."""
    about = figures["machine"]
    lines = [
        f"{about['device']}, {about['cores']} cores, {about['threads']} threads, "
        f"torch {about['versions']['torch']}, precision {figures['settings']['precision']}",
        f"{'':20}{'steps/s':>10}{'ratio':>8}",
    ]
    for name, median in figures["median"].items():
        lines.append(f"{name:20}{median:10.0f}{figures['ratio'][name]:8.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
