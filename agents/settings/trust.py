"""What a file that somebody else made may have run: code of modules that it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.settings.flat import PYTHON

TRUST = "--trust"
"""The flag that allows it; in Python `trust=True`."""


def needs_trust(env: str | None, kwargs: Mapping[str, Any] = {}) -> bool:
    """Whether making an environment imports a module that its id names, or may import one that an argument names.

    Args:
        env: the id, `module:Maze-v0` for example; None for a game.
        kwargs: arguments of the environment.
    """
    if env is None or env.startswith(PYTHON):
        return False
    named = any(isinstance(value, str) and ":" in value for value in kwargs.values())
    return named or ":" in env or env.startswith("GymV")  # whose arguments name another id


def check_trusted(path: Path, env: str | None, kwargs: Mapping[str, Any] = {}) -> None:
    """Raise ValueError where a run's environment, which a file names, would import a module; arguments as above.

    Args:
        path: of the run.
        env: the id.
        kwargs: arguments of the environment.
    """
    if needs_trust(env, kwargs):
        raise ValueError(
            f"{path} learned in {env}, for which a module that its files name is imported, which runs its code: add "
            f"{TRUST} (in Python trust=True) if you trust whoever made them"
        )
