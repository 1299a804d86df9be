"""The command that measures speed, memory and the calls of an update."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import tyro

from agents.benchmarks import commands, race_commands
from agents.benchmarks.timing import machine, machine_line
from agents.commands.parser import fail, read
from agents.runtime.devices import resolve_device, resolve_dtype
from envs.faults import EnvironmentFault

Benchmark = (
    Annotated[race_commands.RaceDQN, tyro.conf.subcommand("dqn")]
    | Annotated[race_commands.RaceQRDQN, tyro.conf.subcommand("qrdqn")]
    | Annotated[race_commands.RacePPO, tyro.conf.subcommand("ppo")]
    | Annotated[race_commands.RaceRecurrentPPO, tyro.conf.subcommand("ppo-recurrent")]
    | Annotated[race_commands.RaceA2C, tyro.conf.subcommand("a2c")]
    | Annotated[commands.Replays, tyro.conf.subcommand("replay")]
    | Annotated[commands.Growth, tyro.conf.subcommand("growth")]
    | Annotated[commands.CheckpointStops, tyro.conf.subcommand("checkpoint")]
    | Annotated[commands.Norms, tyro.conf.subcommand("norms")]
    | Annotated[commands.Emulation, tyro.conf.subcommand("env")]
    | Annotated[commands.SB3Atari, tyro.conf.subcommand("sb3-atari")]
    | Annotated[commands.Start, tyro.conf.subcommand("start")]
    | Annotated[commands.UpdateTimes, tyro.conf.subcommand("update")]
    | Annotated[commands.UpdateCalls, tyro.conf.subcommand("calls")]
)


def main(description: str) -> int:
    """Run a measurement, print its table and write its figures, as `scripts/benchmark.py` does; the exit code."""
    try:
        arguments: Any = read(Benchmark, description)  # type: ignore[arg-type]
        arguments.set_threads()
        device = resolve_device(arguments.device)
        figures, table = arguments.measure(device)
    except EnvironmentFault as error:
        fail(error, code=1)
    except ValueError as error:
        fail(error)
    except KeyboardInterrupt:
        return 130
    about, precision = machine(device), resolve_dtype(arguments.precision, device, images=arguments.images)
    print(machine_line(about, str(precision).removeprefix("torch.")))
    print(table)
    if arguments.json:
        settings = {name: str(v) if isinstance(v, Path) else v for name, v in asdict(arguments).items()}
        text = json.dumps({"machine": about, "settings": settings, **figures}, indent=2) + "\n"
        try:
            arguments.json.write_text(text)
        except OSError as error:
            fail(f"cannot write {arguments.json}: {error.strerror}")
    return 0
