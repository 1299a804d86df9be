"""Agents that learn with weight-normalized networks: `from agents import DQN, load`; see `agents.algorithm`."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from wnrl.distribution import check_packages

if TYPE_CHECKING:
    from agents.acting.player import Player
    from agents.algorithm import A2C, DQN, PPO, PQN, SAC, Algorithm, Reinforce, load
    from agents.training.evaluation import Scores
    from agents.training.trainer import Callback, Trainer

__all__ = [
    "A2C",
    "DQN",
    "PPO",
    "PQN",
    "SAC",
    "Algorithm",
    "Callback",
    "Player",
    "Reinforce",
    "Scores",
    "Trainer",
    "load",
]

__distribution__ = "wnrl"

check_packages("envs")

# Emulators and torch share the cores of a CPU. Between two operations torch's threads (GNU OpenMP) wait awake, by
# default for milliseconds, and keep an emulator from its core; a tenth of that is enough until the next operation.
# It is read when torch is imported.
if "OMP_WAIT_POLICY" not in os.environ and "torch" not in sys.modules:
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")

_ELSEWHERE = {
    "Callback": "agents.training.trainer",
    "Player": "agents.acting.player",
    "Scores": "agents.training.evaluation",
    "Trainer": "agents.training.trainer",
}


def __getattr__(name: str) -> Any:
    """A public name: torch comes when the first is used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ELSEWHERE.get(name, "agents.algorithm")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
