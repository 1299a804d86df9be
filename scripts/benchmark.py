"""Speed, alternating in one run: python scripts/benchmark.py dqn --game Breakout, or qrdqn, ppo, a2c, norms, …"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
import tyro

from agents.benchmarking import describe, in_turn, machine, rate, summary
from agents.command_line import fail, read
from agents.devices import Precision, resolve_device, resolve_dtype
from agents.norm_costs import norm_costs, norm_table
from agents.rivals import RIVALS, WARMUP, Task, ours, theirs
from wnrl import NORMALIZERS

Figures = tuple[dict[str, Any], str]  # JSON-able, and a table


@dataclass(frozen=True)
class Measurement:
    """How often and on what is timed."""

    rounds: int = 7
    """Timings per side; the sides take turns."""
    threads: int = 0
    """Threads of torch; 0 leaves its default."""
    precision: Precision = "auto"
    """Type of the products of our networks; auto is bfloat16 for images where the hardware has it."""
    device: str = "auto"
    """cpu, cuda, or auto (CUDA where there is one)."""
    json: Path | None = None
    """File to write the figures to."""

    images: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("rounds", "steps", "batch_size", "calls"):
            if getattr(self, name, 1) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class Race(Measurement):
    """Base of the agents beside stable-baselines3's: steps per second."""

    game: str = "Breakout"
    """Atari game."""
    env: Annotated[str | None, tyro.conf.arg(metavar="ID")] = None
    """Any other Gymnasium id with discrete actions, instead of --game."""
    steps: int = 1_024
    """Steps per timing."""

    rival: ClassVar[str]

    @property
    def images(self) -> bool:  # type: ignore[override]
        """Whether observations are images."""
        return self.env is None

    def measure(self, device: torch.device) -> Figures:
        """Steps per second of stable-baselines3 and of ours, without and with weight norm."""
        rival, task = RIVALS[self.rival], Task(None if self.env else self.game, self.env, self.device, self.precision)
        made = {"stable-baselines3": theirs(rival, task)}
        made |= {f"wnrl {norm}": ours(rival, task, norm) for norm in ("none", "weight")}
        for advance in made.values():
            advance(WARMUP)
        rates = in_turn({name: rate(advance, self.steps) for name, advance in made.items()}, self.rounds)
        rows = summary(rates)
        lines = [f"{name:20}{row['median']:10.0f}{row['ratio']:8.2f}" for name, row in rows.items()]
        return {"steps_per_second": rates, "summary": rows}, "\n".join([f"{'':20}{'steps/s':>10}{'ratio':>8}", *lines])


@dataclass(frozen=True)
class DQN(Race):
    """DQN: 8 environments, one update of 32 per 4 steps."""

    rival: ClassVar[str] = "dqn"


@dataclass(frozen=True)
class QRDQN(Race):
    """QR-DQN of sb3-contrib: 200 quantiles, 8 environments, one update of 32 per 4 steps."""

    rival: ClassVar[str] = "qrdqn"


@dataclass(frozen=True)
class PPO(Race):
    """PPO: 8 environments by 128 steps, 4 epochs of minibatches of 256."""

    rival: ClassVar[str] = "ppo"


@dataclass(frozen=True)
class RecurrentPPO(Race):
    """RecurrentPPO of sb3-contrib: an LSTM of 256, 8 environments by 128 steps, 4 epochs of minibatches of 256."""

    rival: ClassVar[str] = "ppo-recurrent"


@dataclass(frozen=True)
class A2C(Race):
    """A2C: 16 environments by 5 steps."""

    rival: ClassVar[str] = "a2c"


@dataclass(frozen=True)
class Norms(Measurement):
    """What each normalizer costs on the Nature network: a training step, acting on one state, memory."""

    norms: tuple[str, ...] = tuple(NORMALIZERS)
    """Normalizers; ratios are to the first."""
    batch_size: int = 32
    """Examples per training step."""
    calls: int = 5
    """Training steps per timing (ten times as many for acting)."""

    def measure(self, device: torch.device) -> Figures:
        """Seconds and bytes of each normalizer."""
        figures = norm_costs(
            self.norms or tuple(NORMALIZERS),
            batch_size=self.batch_size,
            rounds=self.rounds,
            times=self.calls,
            device=device,
            dtype=resolve_dtype(self.precision, device, images=True),
        )
        return figures, norm_table(figures)


Benchmark = (
    Annotated[DQN, tyro.conf.subcommand("dqn")]
    | Annotated[QRDQN, tyro.conf.subcommand("qrdqn")]
    | Annotated[PPO, tyro.conf.subcommand("ppo")]
    | Annotated[RecurrentPPO, tyro.conf.subcommand("ppo-recurrent")]
    | Annotated[A2C, tyro.conf.subcommand("a2c")]
    | Annotated[Norms, tyro.conf.subcommand("norms")]
)


def main() -> int:
    """Time the sides in turn and print a table; the exit code."""
    try:
        arguments: Any = read(Benchmark, __doc__ or "")  # type: ignore[arg-type]
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        device = resolve_device(arguments.device)
        figures, table = arguments.measure(device)
    except ValueError as error:
        fail(error)
    about, precision = machine(device), resolve_dtype(arguments.precision, device, images=arguments.images)
    print(describe(about, str(precision).removeprefix("torch.")))
    print(table)
    if arguments.json:
        settings = {name: str(v) if isinstance(v, Path) else v for name, v in asdict(arguments).items()}
        arguments.json.write_text(json.dumps({"machine": about, "settings": settings, **figures}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
