"""The training command: parse the command line, train, and report how the run ended."""

from __future__ import annotations

import os
from statistics import fmean, pstdev

from agents.commands.invocation import how_to_call, quoted
from agents.commands.parser import fail, parse
from agents.registry import AGENTS
from agents.runtime.signals import StopSignal


def train(agent: str, description: str) -> int:
    """Train an agent by the command line, as a training script does.

    Args:
        agent: a name in `AGENTS`.
        description: one line above the help.

    Returns:
        The exit code: 0, 2 for a wrong command line, or 128 + the number of the signal that stopped the run.
    """
    world_size = int(os.environ.get("WORLD_SIZE") or 1)
    rank = int(os.environ.get("RANK") or 0) if world_size > 1 else 0  # job systems set RANK for a single process too
    try:
        settings = parse(AGENTS[agent], description)
        from agents.training.progress import TerminalProgress  # these bring torch, which --help does without
        from agents.training.run import Run

        stop = StopSignal(again=world_size == 1)
        run = Run(AGENTS[agent], settings, stop=stop, progress=TerminalProgress())
    except ValueError as error:
        if rank:
            return 2  # the first process reports it
        fail(error)
    except KeyboardInterrupt:
        return 130
    with run, stop:
        run.learn()
    assert run.directory is not None
    path = run.directory.path
    if rank:
        return stop.exit_code
    if run.training_scores:
        print(training_line(settings.run.task.name, run.training_scores, run.conditions))
    if stop():
        print(f"stopped at step {run.steps:,} with a checkpoint: continue with --resume {path}", flush=True)
    else:
        command = f"{how_to_call('evaluate')} {quoted(path)}"
        print(f"finished {run.steps:,} steps: {command} evaluates the model", flush=True)
    return stop.exit_code


def training_line(task: str, scores: list[float], conditions: str) -> str:
    """Mean ± standard deviation of the scores of the last games of training, and their conditions in words."""
    line = f"{task}: {fmean(scores):.1f} ± {pstdev(scores):.1f} over the last {len(scores)} games of training"
    return f"{line} ({conditions})" if conditions else line
