"""The command that measures speed and memory, the sides of a comparison taking turns in one run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import tyro

from agents.benchmarks import commands
from agents.benchmarks.timing import describe, machine
from agents.commands.parser import fail, read
from agents.runtime.devices import resolve_device, resolve_dtype

Benchmark = (
    Annotated[commands.DQN, tyro.conf.subcommand("dqn")]
    | Annotated[commands.QRDQN, tyro.conf.subcommand("qrdqn")]
    | Annotated[commands.PPO, tyro.conf.subcommand("ppo")]
    | Annotated[commands.RecurrentPPO, tyro.conf.subcommand("ppo-recurrent")]
    | Annotated[commands.A2C, tyro.conf.subcommand("a2c")]
    | Annotated[commands.Replays, tyro.conf.subcommand("replay")]
    | Annotated[commands.Norms, tyro.conf.subcommand("norms")]
    | Annotated[commands.Emulation, tyro.conf.subcommand("env")]
    | Annotated[commands.Start, tyro.conf.subcommand("start")]
    | Annotated[commands.UpdateCalls, tyro.conf.subcommand("calls")]
)


def main(description: str) -> int:
    """What `scripts/benchmark.py` does: time the sides in turn and print a table; the process's exit code."""
    try:
        arguments: Any = read(Benchmark, description)  # type: ignore[arg-type]
        arguments.set_threads()
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
