"""The best scores and speed that are known for one machine."""

from __future__ import annotations

from agents.settings.presets.base import REPLAY_VECTOR, Values

# Mostly common choices in the field; docs/results.md says what was tried.
FAST_ATARI: Values = {
    "learning_rate": 1.5e-4,
    "batch_size": 64,  # 64 per 8 steps reuse each transition as often as 32 per 4, for less work on a CPU
    "train_interval": 8,
    "replay_size": 400_000,
    "learning_starts": 8_000,
    "target_interval": 1_000,
    "epsilon_end": 0.01,
    "epsilon_steps": 150_000,
    "double": True,
    "n_step": 3,
}

FAST_VECTOR: Values = {
    **REPLAY_VECTOR,
    "tau": 0.02,
    "n_step": 3,
    "epsilon_end": 0.05,
    "epsilon_steps": 10_000,
    "double": True,
    "eval_epsilon": 0.0,
    "log_interval": 1_000,
}
