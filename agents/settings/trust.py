"""What a file that somebody else made may have run: code of modules that it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.settings.flat import PYTHON

TRUST = "--trust"
"""The flag that allows it; in Python `trust=True`."""
MOST = {
    "batch_size": 2**20,
    "init_batch": 2**20,
    "n_step": 2**12,
    "taus": 2**12,
    "target_taus": 2**12,
    "policy_taus": 2**12,
}
"""Of settings that no tensor of a checkpoint has the size of, in a run that is not trusted."""
MOST_IN_CONFIG = {"num_envs": 2**14, "rollout_length": 2**20, **MOST, "quantiles": 2**12, "atoms": 2**12}
"""Of settings that memory is taken for, in a file of `--config`."""


def check_most(path: Path, flat: Mapping[str, Any]) -> None:
    """Raise ValueError where a file of settings has a size far above what is used.

    Args:
        path: of the file.
        flat: the settings that come from it, by flat name.
    """
    if size := size_above(flat, MOST_IN_CONFIG):
        raise ValueError(f"{path} has {size}: add {TRUST} if you know why")


def size_above(flat: Mapping[str, Any], most: Mapping[str, int]) -> str:
    """The first of these settings that is above its most, with its value; empty where none is."""
    return next((f"{name} {flat[name]:,}" for name, limit in most.items() if flat.get(name, 0) > limit), "")


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
