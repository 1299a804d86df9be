"""Settings as `config.json` of earlier versions has them, and what they mean now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

Stored = dict[str, Any]

FORMAT = 1
"""Of the settings in `config.json`. It counts changes of meaning, see `MIGRATIONS`; what `EARLIER` has is none."""

EARLIER: Stored = {
    "batch_statistics": "running",
    "compile": False,
    "config": None,
    "dueling_gradient_scale": 1.0,
    "emulator_threads": 0,
    "env_groups": 1,
    "env_kwargs": (),
    "epsilon_off": 0,
    "epsilon_schedule": "linear",
    "eval_wait": True,
    "frame_skip": None,
    "graphs": None,
    "grey": False,
    "impala_pool": 0,
    "init_from": None,
    "norm_layers": "auto",
    "overlap": True,
    "overlap_rollouts": False,
    "own_torso": None,
    "policy_taus": 0,
    "protocol": "none",
    "resize": (),
    "schedule_steps": None,
    "shared_bias": False,
    "stack": None,
    "trust": False,
    "vectorization": "sync",
    "wandb": False,
}
"""By flat name, the value that keeps the meaning of a file without it: what the code did before the setting came."""


def _from_0(stored: Stored) -> None:
    if "batch_statistics" not in stored and "gae_lambda" in stored and "batch" in stored["norm"]:
        raise ValueError("it learned with other batch statistics than it acted with, which no version does now")


MIGRATIONS: tuple[Callable[[Stored], None], ...] = (_from_0,)
"""The n-th one turns settings of format n, in place, into those of format n + 1, or raises ValueError."""


def migrated(stored: Mapping[str, Any], form: int, names: Collection[str]) -> Stored:
    """The settings of a `config.json` as this version has them.

    Args:
        stored: by flat name.
        form: their format; 0 where the file names none.
        names: of the settings that this version has for the agent.

    Raises:
        ValueError: they mean what this version does not do, or are of a later version.
    """
    if form > FORMAT:
        raise ValueError(f"its settings are of format {form}, later than this version's {FORMAT}")
    settings = dict(stored)
    for migrate in MIGRATIONS[form:]:
        migrate(settings)
    settings = {name: EARLIER[name] for name in EARLIER.keys() & names} | settings
    if unknown := sorted(settings.keys() - names):
        raise ValueError(f"this version has no settings {', '.join(unknown)}")
    if missing := sorted(names - settings.keys()):
        raise ValueError(f"it has no settings {', '.join(missing)}")
    return settings
