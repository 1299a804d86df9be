"""The command line of a run with an algorithm of stable-baselines3, and how it ends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from agents.commands.invocation import how_to_call, quoted
from agents.commands.parser import fail, given_flags, read
from agents.runtime.signals import StopSignal, leaving_at_once
from agents.settings.flat import flat_defaults, from_flat
from agents.settings.presets.protocols import protocol_values
from agents.settings.presets.sb3 import EPSILON_GREEDY, sb3_preset
from agents.settings.sb3 import SB3Settings
from agents.settings.trust import TRUST, needs_trust

if TYPE_CHECKING:
    from agents.commands.sb3.sb3_run import SB3Run


def main(description: str) -> int:
    """Train, save and evaluate, as `scripts/train_sb3.py` does.

    Returns:
        The exit code: 0, 1 where an environment fails, 2 for a wrong command line, or 128 + the number of the signal
        that stopped the run.
    """
    stop, run = StopSignal(), None
    try:
        settings = parse_sb3(description)
        with leaving_at_once():  # torch and stable-baselines3 are imported, which --help does without
            from agents.commands.sb3.sb3_run import SB3Run
        run = SB3Run(settings, stop)
        with run, stop:
            return _train(run, stop)
    except (ValueError, TypeError, AssertionError, ImportError) as error:
        if run is not None and run.steps:
            raise
        fail(error)  # an argument does not fit, which the library reports by any of these
    except KeyboardInterrupt:
        return 130


def _train(run: SB3Run, stop: StopSignal) -> int:
    from envs.faults import EnvironmentFault  # brings gymnasium

    path = run.directory.path
    print(f"training in {path}", flush=True)
    if line := run.id_remark:
        print(line, flush=True)
    if run.conditions:
        print(f"games are scored with {run.conditions}", flush=True)
    try:
        run.learn()
    except EnvironmentFault as fault:
        fault.step = run.steps
        if _saved(run):
            kept = f"; the model of that step is in {path / 'model.zip'}"
        else:
            kept = _NOT_FINITE if run.steps else ""
        fail(f"{fault}{kept}", code=1)
    except Exception:  # of a callback, of the device, of the library
        if _saved(run):
            print(f"the run broke off at step {run.steps:,}: its model is {path / 'model.zip'}", file=sys.stderr)
        raise
    run.save()
    print(f"model of step {run.steps:,}: {path / 'model.zip'}", flush=True)
    try:
        if not stop() and (result := run.evaluate()):
            print(result)
    except EnvironmentFault as fault:
        fail(f"no evaluation: {fault}", code=1)
    trusted = f" {TRUST}" if run.is_large or needs_trust(run.task.env, run.task.env_options) else ""
    end = f"stopped at step {run.steps:,}" if stop() else f"finished {run.steps:,} steps"
    print(f"{end}: {how_to_call('evaluate')} {quoted(path)}{trusted} evaluates the model", flush=True)
    return stop.exit_code


_NOT_FINITE = "; learning broke down before, the policy has numbers that are not finite and is not saved"


def _saved(run: SB3Run) -> bool:
    """Whether the model of a run that broke off is saved; where its numbers are not finite, that is noted instead."""
    if not run.steps or run.save_finite():
        return bool(run.steps)
    try:
        run.directory.note_breakdown(run.steps)
    except ValueError as error:
        print(f"that learning broke down is not noted: {error}", file=sys.stderr)
    return False


def parse_sb3(description: str, argv: list[str] | None = None) -> SB3Settings:
    """The settings of a run from a command line; defaults depend on the algorithm and on whether there is a --game.

    Args:
        description: one line above the help.
        argv: the arguments; the process's own by default.

    Raises:
        ValueError: a value is out of its range, or no task is named.
    """
    flags = given_flags(argv)
    algo = flags.get("algo", "ppo")
    defaults = sb3_preset(algo, game="game" in flags)
    known = flat_defaults(SB3Settings).keys() - (set() if algo in EPSILON_GREEDY else {"eval_epsilon"})
    defaults |= protocol_values(flags.get("protocol", "none"), known)
    settings = read(SB3Settings, description, argv, from_flat(SB3Settings, defaults))
    settings.task.name  # noqa: B018 - refuses a run without a task
    return settings
