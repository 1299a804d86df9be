"""Settings that the `config.json` of earlier versions lacks."""

from __future__ import annotations

from typing import Any

EARLIER: dict[str, Any] = {
    "batch_statistics": "running",
    "dueling_gradient_scale": 1.0,
    "epsilon_off": 0,
    "epsilon_schedule": "linear",
    "impala_pool": 0,
    "norm_layers": "auto",
    "policy_taus": 0,
    "protocol": "none",
    "schedule_steps": None,
    "shared_bias": False,
}
"""By flat name, the value that keeps the meaning of a file without it."""
