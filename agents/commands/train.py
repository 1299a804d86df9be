"""The training command: parse the command line, train, and report how the run ended."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, pstdev
from typing import TYPE_CHECKING

from agents.commands.invocation import how_to_call, quoted
from agents.commands.parser import fail, given_flags, parse
from agents.registry import AGENTS
from agents.runtime.output_text import make_output_safe
from agents.runtime.process_count import process_count, process_rank
from agents.runtime.signals import StopSignal, leaving_at_once
from agents.settings.trust import TRUST, needs_trust
from agents.training.run_directory import RunDirectory

if TYPE_CHECKING:
    from agents.training.run import Run


def train(agent: str, description: str) -> int:
    """Train an agent by the command line, as a training script does.

    Args:
        agent: a name in `AGENTS`.
        description: one line above the help.

    Returns:
        The exit code: 0, 1 where the run cannot go on, 2 for a wrong command line, or 128 + the number of the signal
        that stopped the run before its end.
    """
    make_output_safe()
    rank = 0
    try:
        rank, world_size = process_rank(), process_count()
        settings = parse(AGENTS[agent], description)
        if done := _done_already(settings.run.resume, settings.run.steps):
            return 0 if rank else _print(done)
        with leaving_at_once():
            from agents.training.progress import TerminalProgress  # these bring torch, which --help does without
            from agents.training.run import Run
        stop = StopSignal(again=world_size == 1)
        run = Run(AGENTS[agent], settings, stop=stop, progress=TerminalProgress())
    except (ValueError, ModuleNotFoundError) as error:
        if rank:
            return 2  # the first process reports it
        fail(error)
    except KeyboardInterrupt:
        return 130
    from agents.learner.finite import NonFiniteError
    from agents.runtime.distributed import ProcessGoneError
    from envs.faults import EnvironmentFault
    from wnrl.checkpoints.tensor_files import CheckpointError

    try:
        with run, stop:
            run.learn()
    except (EnvironmentFault, NonFiniteError, CheckpointError, ProcessGoneError) as error:
        who = f"process {rank}: " if world_size > 1 else ""
        fail(f"{who}{error}", code=1)
    if not rank:
        _report(run, agent, world_size, stopped=stop() and not run.finished)
    return 0 if run.finished else stop.exit_code


def _done_already(resume: Path | None, steps: int) -> str:
    """What to say where `--resume auto` finds a run that has its length; empty elsewhere."""
    if resume is None or given_flags(None).get("resume") != "auto":
        return ""
    directory = RunDirectory(resume)
    made = directory.last_step
    if made is None or made < steps or directory.owes_evaluation:
        return ""
    return f"{resume} has its {made:,} steps: nothing to do"


def _report(run: Run, agent: str, world_size: int, *, stopped: bool) -> None:
    """Print what the last games of training scored, how the run ended, and the command that comes next."""
    from agents.learner.saved_network import MOST_NUMBERS

    assert run.directory is not None
    path, task = quoted(run.directory.path), run.settings.run.task
    large = sum(tensor.numel() for tensor in run.agent.learner.network.state_dict().values()) > MOST_NUMBERS
    trusted = f" {TRUST}" if large or needs_trust(task.env, task.env_options) else ""
    if run.training_scores:
        print(training_line(run.settings.run.task.name, run.training_scores, run.conditions))
    if stopped:
        command = f"{in_processes(how_to_call('train', agent), world_size)} --resume {path}{trusted}"
        print(f"stopped at step {run.steps:,} with a checkpoint: {command} continues the run", flush=True)
    else:
        command = f"{how_to_call('evaluate')} {path}{trusted}"
        print(f"finished {run.steps:,} steps: {command} evaluates the model", flush=True)


def in_processes(call: str, world_size: int) -> str:
    """A command line as `torchrun` starts it in several processes on this machine."""
    if world_size == 1:
        return call
    program = call.removeprefix("python ") if call.startswith("python ") else f"-m {call}"
    return f"torchrun --nproc-per-node {world_size} {program}"


def _print(text: str) -> int:
    print(text, flush=True)
    return 0


def training_line(task: str, scores: list[float], conditions: str) -> str:
    """Mean ± standard deviation of the scores of the last games of training, and their conditions in words."""
    line = f"{task}: {fmean(scores):.1f} ± {pstdev(scores):.1f} over the last {len(scores)} games of training"
    return f"{line} ({conditions})" if conditions else line
