"""Speed, alternating in one run: python scripts/benchmark.py dqn --game Breakout, or norms"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from train_dqn import TrainDQN

from agents.benchmarking import Side, describe, in_turn, machine, summary
from agents.building import make_dqn, make_training_environment
from agents.command_line import fail, read
from agents.devices import Precision, resolve_device, resolve_dtype
from agents.norm_costs import norm_costs, norm_table
from agents.training import Trainer
from wnrl import NORMALIZERS

Advance = Callable[[int], int]  # asks for so many steps, returns how many were made
WARMUP = 1_000  # steps before the first timing, half of them random play


@dataclass(frozen=True)
class Measurement:
    """How often and on what is timed."""

    rounds: int = 7
    """Timings per side; the sides take turns."""
    threads: int = 0
    """Threads of torch; 0 leaves its default."""
    precision: Precision = "auto"
    """Type of the products of our networks; auto is bfloat16 where the hardware has it."""
    device: str = "auto"
    """cpu, cuda, or auto (CUDA where there is one)."""
    json: Path | None = None
    """File to write the figures to."""

    def __post_init__(self) -> None:
        for name in ("rounds", "num_envs", "steps", "batch_size", "calls"):
            if getattr(self, name, 1) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class DQN(Measurement):
    """Our DQN beside stable-baselines3's, one update of 32 per 4 steps on both sides."""

    game: str = "Breakout"
    """Atari game."""
    num_envs: int = 8
    """Environments on both sides."""
    steps: int = 800
    """Steps per timing."""


@dataclass(frozen=True)
class Norms(Measurement):
    """What each normalizer costs on the Nature network: a training step, acting on one state, memory."""

    norms: tuple[str, ...] = tuple(NORMALIZERS)
    """Normalizers; ratios are to the first."""
    batch_size: int = 32
    """Examples per training step."""
    calls: int = 5
    """Training steps per timing (ten times as many for acting)."""


Benchmark = Annotated[DQN, tyro.conf.subcommand("dqn")] | Annotated[Norms, tyro.conf.subcommand("norms")]


def main() -> int:
    """Time the sides in turn and print a table; the exit code."""
    try:
        arguments = read(Benchmark, __doc__ or "")
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        device = resolve_device(arguments.device)
        measure = measure_norms if isinstance(arguments, Norms) else measure_dqn
        figures, table = measure(arguments, device)
    except ValueError as error:
        fail(error)
    about = machine(device)
    print(describe(about, str(resolve_dtype(arguments.precision, device, images=True)).removeprefix("torch.")))
    print(table)
    if arguments.json:
        settings = {name: str(v) if isinstance(v, Path) else v for name, v in asdict(arguments).items()}
        arguments.json.write_text(json.dumps({"machine": about, "settings": settings, **figures}, indent=2) + "\n")
    return 0


def measure_norms(arguments: Norms, device: torch.device) -> tuple[dict[str, Any], str]:
    """Figures and table of what normalizers cost."""
    figures = norm_costs(
        arguments.norms or tuple(NORMALIZERS),
        batch_size=arguments.batch_size,
        rounds=arguments.rounds,
        times=arguments.calls,
        device=device,
        dtype=resolve_dtype(arguments.precision, device, images=True),
    )
    return figures, norm_table(figures)


def measure_dqn(arguments: DQN, device: torch.device) -> tuple[dict[str, Any], str]:
    """Figures and table of steps per second."""
    made = {
        "stable-baselines3": stable_baselines3_dqn(arguments),
        "wnrl none": wnrl_dqn(arguments, "none"),
        "wnrl weight": wnrl_dqn(arguments, "weight"),
    }
    for advance in made.values():
        advance(WARMUP)
    sides = {name: _steps_per_second(advance, arguments.steps) for name, advance in made.items()}
    rates = in_turn(sides, arguments.rounds)
    rows = summary(rates)
    lines = [f"{name:20}{row['median']:10.0f}{row['ratio']:8.2f}" for name, row in rows.items()]
    return {"steps_per_second": rates, "summary": rows}, "\n".join([f"{'':20}{'steps/s':>10}{'ratio':>8}", *lines])


def _steps_per_second(advance: Advance, steps: int) -> Side:
    def measure() -> float:
        start = time.perf_counter()
        return advance(steps) / (time.perf_counter() - start)

    return measure


def wnrl_dqn(arguments: DQN, norm: str) -> Advance:
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


def stable_baselines3_dqn(arguments: DQN) -> Advance:
    """stable-baselines3's DQN on its own Atari wrappers."""
    import ale_py  # noqa: F401  (registers the games)
    import stable_baselines3
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
    model = stable_baselines3.DQN(
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


if __name__ == "__main__":
    raise SystemExit(main())
