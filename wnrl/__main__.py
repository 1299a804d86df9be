"""The command `wnrl`, also `python -m wnrl`. What it does is the entry point `wnrl_command`, which the agents bring."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from wnrl.distribution import check_packages

GROUP = "wnrl_command"
"""The group of the entry point."""


def main() -> int:
    """Run the command line of the process; returns the exit code, 2 where the installation is not whole."""
    try:
        check_packages()
        entries = metadata.entry_points(group=GROUP)
        if not entries:
            raise ImportError(_not_installed())
        run = next(iter(entries)).load()
    except ImportError as error:
        print(f"wnrl: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return run()


def _not_installed() -> str:
    """What to do where no metadata names the entry point, as in a clone that is only on PYTHONPATH."""
    clone = Path(__file__).parents[1]
    if not (clone / "pyproject.toml").is_file():
        return "wnrl is not installed, or not whole: install it again with pip"
    script = clone / "scripts" / "train_dqn.py"
    return f"wnrl is not installed: python -m pip install -e {clone}, or without it python {script}"


if __name__ == "__main__":
    raise SystemExit(main())
