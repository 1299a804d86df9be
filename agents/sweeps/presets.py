"""Sweeps by name: the paper's table of deep reinforcement learning, and five games that stand for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SWEEPS: dict[str, dict[str, Any]] = {
    "paper": {
        "agents": ("dqn",),
        "games": ("Breakout", "Enduro", "Seaquest", "SpaceInvaders"),  # table 2
        "norms": ("none", "weight"),
        "steps": 50_000_000,  # section 5.4: 200 epochs of 250,000 steps
        "seeds": 3,  # the paper: one
        "axes": {"preset": ("paper",)},  # each normalizer at its own rate, and the evaluations of Mnih et al. 2015
    },
    "atari-5": {
        "agents": ("dqn",),
        "games": ("BattleZone", "DoubleDunk", "NameThisGame", "Phoenix", "Qbert"),  # Aitchison et al. 2023
        "norms": ("none", "weight"),
        "steps": 50_000_000,
        "seeds": 5,
        "axes": {"protocol": ("machado",)},  # Machado et al. 2018
    },
}
"""Flags and axes of a sweep, by the name of its flag."""
PAPER_SCORES: dict[str, dict[str, float]] = {
    "Breakout": {"none": 410, "weight": 403},
    "Enduro": {"none": 1250, "weight": 1448},
    "Seaquest": {"none": 7188, "weight": 7375},
    "SpaceInvaders": {"none": 1779, "weight": 2179},
}
"""Highest evaluation score of one run, by game and normalizer (Salimans & Kingma 2016, table 2)."""
IN_STEPS = (
    "steps",
    "schedule_steps",
    "log_interval",
    "eval_interval",
    "eval_steps",
    "checkpoint_interval",
    "learning_starts",
    "replay_size",
    "epsilon_steps",
    "epsilon_off",
    "target_interval",
)
"""Settings that are counted in steps, and shrink with the length of a run."""
LEAST = {"log_interval": 100, "eval_interval": 100, "replay_size": 1_000}
"""Below which a setting does not shrink."""


def scaled(settings: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """The settings of a run that is shorter by a factor and otherwise the same: what `IN_STEPS` become.

    Args:
        settings: of the run, by flat name.
        scale: below 1; what was not 0 stays at least 1, or at least as in `LEAST`.
    """
    found = {name: settings[name] for name in IN_STEPS if settings.get(name)}
    return {name: max(round(value * scale), min(value, LEAST.get(name, 1))) for name, value in found.items()}
