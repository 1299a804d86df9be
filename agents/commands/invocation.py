"""How a person calls the commands: by `wnrl`, or by the scripts of a clone."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

_SCRIPT = re.compile(r"(train_\w+|evaluate|benchmark|report|sweep|watch)\.py")


def how_to_call(command: str, agent: str = "") -> str:
    """The beginning of a command line, in the manner in which this process was started.

    `wnrl evaluate`, `python -m wnrl evaluate` or `python scripts/evaluate.py`; arguments follow it.

    Args:
        command: `train`, `evaluate`, `sb3`, `benchmark`, `report`, `sweep` or `watch`.
        agent: that `train` trains, `dqn` for example.
    """
    started = Path(sys.argv[0])
    if _SCRIPT.fullmatch(started.name):
        name = {"train": f"train_{agent}", "sb3": "train_sb3"}.get(command, command)
        script = started.with_name(f"{name}.py")
        return f"python {quoted(script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script)}"
    module = "python -m " if sys.argv[0].startswith("python -m ") else ""  # as `entry.main` leaves it
    return f"{module}wnrl {command} {agent}".rstrip()


def quoted(argument: str | Path) -> str:
    """An argument as the shell of this system takes it."""
    text = str(argument)
    return subprocess.list2cmdline([text]) if os.name == "nt" else shlex.quote(text)
