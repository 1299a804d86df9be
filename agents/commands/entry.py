"""The command `wnrl`: it gives the rest of the command line to the command that is named first."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from agents.commands.parser import fail
from agents.registry import AGENTS
from agents.runtime.output_text import make_output_safe
from wnrl import __version__


class Command(NamedTuple):
    """A command that takes a command line of its own."""

    operand: str
    """What its command line begins with, for the help."""
    sentence: str
    """What it does."""
    example: str
    """Arguments to try."""
    main: str
    """`module:function`, which takes the description above the help and returns the exit code."""


TRAIN = {
    "dqn": ("Train an agent of the DQN family", "--game Breakout"),
    "ppo": ("Train PPO", "--env CartPole-v1"),
    "a2c": ("Train A2C", "--env CartPole-v1"),
    "reinforce": ("Train REINFORCE with a baseline", "--env CartPole-v1"),
    "pqn": ("Train PQN", "--env CartPole-v1"),
    "sac": ("Train a discrete soft actor-critic", "--game Pong"),
}
"""What `wnrl train AGENT` does, and arguments to try, by agent."""

COMMANDS = {
    "evaluate": Command(
        "RUN",
        "Evaluate a trained model over whole games",
        "RUN_DIR --episodes 30 --video",
        "agents.commands.evaluate:main",
    ),
    "watch": Command(
        "RUN",
        "Watch a trained model play in a window",
        "RUN_DIR --values",
        "agents.commands.watch:main",
    ),
    "sb3": Command(
        "",
        "Train stable-baselines3's algorithms, normalized",
        "--game Pong --algo dqn",
        "agents.commands.sb3.command:main",
    ),
    "benchmark": Command(
        "WHAT",
        "Measure speed, memory and calls",
        "dqn --game Breakout, or ppo, replay, env, calls, …",
        "agents.commands.benchmark:main",
    ),
    "sweep": Command(
        "",
        "Train agents over tasks and seeds",
        "--agents dqn --envs CartPole-v1 --steps 50000",
        "agents.commands.sweep.command:main",
    ),
    "report": Command(
        "DIR",
        "Compare runs: curves, statistics and figures in one page",
        "runs --out report",
        "agents.commands.report:main",
    ),
}
"""The commands beside `train`, by name."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code.

    Args:
        argv: what follows `wnrl`; the process's own arguments by default.
    """
    make_output_safe()
    program = "python -m wnrl" if Path(sys.argv[0]).name == "__main__.py" else "wnrl"
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        with _called(program):
            return _run(program, name, arguments)
    except KeyboardInterrupt:
        return 130


def _run(program: str, name: str, arguments: list[str]) -> int:
    if name in ("-h", "--help"):
        return _print(_help(program))
    if name in ("--version", "version"):
        return _print(f"wnrl {__version__}")
    if name == "train":
        return _train(f"{program} train", arguments)
    if name in AGENTS:
        fail(f"there is no command {name!r}: did you mean {program} train {name}?")
    if name not in COMMANDS:
        fail(f"there is no command {name!r}: {_choose(name, ['train', *COMMANDS], program)}")
    command = COMMANDS[name]
    module, function = command.main.split(":")
    with _called(f"{program} {name}", arguments):
        run = getattr(importlib.import_module(module), function)
        return run(f"{command.sentence}: {program} {name} {command.example}")


def _train(program: str, arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        return _print(_help_of_train(program))
    agent, *rest = arguments
    if agent not in AGENTS:
        missing = "the agent comes first" if agent.startswith("-") else f"there is no agent {agent!r}"
        fail(f"{missing}: {_choose(agent, [*AGENTS], program)}")
    from agents.commands.train import train

    sentence, example = TRAIN[agent]
    with _called(f"{program} {agent}", rest):
        return train(agent, f"{sentence}: {program} {agent} {example}")


@contextmanager
def _called(program: str, arguments: Sequence[str] = ()) -> Iterator[None]:
    """A context in which the process's command line is that of the command, for its help and its errors."""
    before, sys.argv = sys.argv, [program, *arguments]
    try:
        yield
    finally:
        sys.argv = before


def _choose(name: str, names: list[str], program: str) -> str:
    nearest = get_close_matches(name.lower(), names, 1)
    return f"did you mean {program} {nearest[0]}?" if nearest else f"{program} {'|'.join(names)}"


def _print(text: str) -> int:
    print(text)
    return 0


def _help(program: str) -> str:
    rows = [("train AGENT", f"Train an agent: {', '.join(AGENTS)}")]
    rows += [(f"{name} {command.operand}", command.sentence) for name, command in COMMANDS.items()]
    rows += [("--version", "Print the version")]
    return "\n".join([f"usage: {program} COMMAND ...", "", *_aligned(rows), "", "Each command has a --help."])


def _help_of_train(program: str) -> str:
    rows = [(f"{agent} {example}", sentence) for agent, (sentence, example) in TRAIN.items()]
    usage = [f"usage: {program} AGENT ...", "", *_aligned(rows), ""]
    return "\n".join([*usage, f"{program} AGENT --help lists the flags of an agent."])


def _aligned(rows: list[tuple[str, str]]) -> list[str]:
    width = max(len(left) for left, _ in rows)
    return [f"  {left:{width}}  {right}" for left, right in rows]
