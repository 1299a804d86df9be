"""DQN with weight normalization (Salimans & Kingma 2016)."""

from __future__ import annotations

from agents.settings.presets.base import Values
from agents.settings.presets.dqn.nature import NATURE

# Salimans & Kingma 2016, section 5.4, and the code base that it adapted.
PAPER: Values = {
    **NATURE,
    "optimizer": "adamax",  # section 5.4
    "beta1": 0.5,  # section 5.4
    "optimizer_eps": 1e-8,  # Adamax's own default (Kingma & Ba 2015)
    "batch_size": 64,  # section 5.4
    "units": "paper",  # g as equation 2 has it
}

FIXED_LENGTHS = ("projected", "spectral")
"""Normalizers that set the lengths of rows themselves, so that initialization from data cannot."""


def paper_by_norm(norm: str) -> Values:
    """What the paper chose for the network with weight normalization, and for the one without."""
    if norm == "none":
        return {"norm": norm, "learning_rate": 0.0001, "init": "he"}  # section 5.4; the code base's He-uniform, 0.1
    by_norm = {"norm": norm, "learning_rate": 0.0003}  # section 5.4
    return by_norm if norm in FIXED_LENGTHS else {**by_norm, "init": "data"}  # section 3
