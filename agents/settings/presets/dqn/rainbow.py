"""Rainbow (Hessel et al. 2018)."""

from __future__ import annotations

from agents.settings.presets.base import Values
from agents.settings.presets.dqn.fast import FAST_ATARI, FAST_VECTOR

NOISE_ALONE: Values = {"epsilon_start": 0.0, "epsilon_end": 0.0}

# Hessel et al. 2018, table 1; what is not here is as in FAST_ATARI and FAST_VECTOR.
RAINBOW: Values = {
    "double": True,
    "dueling": True,
    "noisy": True,
    "distribution": "categorical",
    "prioritized": True,
    "priority_exponent": 0.5,
    "priority_beta": 0.4,
    "n_step": 3,
    **NOISE_ALONE,
}

RAINBOW_ATARI: Values = {
    **FAST_ATARI,
    **RAINBOW,
    "num_envs": 1,
    "steps": 50_000_000,  # 200 million frames
    "learning_rate": 6.25e-5,
    "optimizer_eps": 1.5e-4,
    "max_grad_norm": 10.0,  # dqn_zoo, rainbow/run_atari.py; the paper does not say
    "batch_size": 32,
    "train_interval": 4,
    "replay_size": 1_000_000,
    "learning_starts": 20_000,  # 80,000 frames
    "target_interval": 8_000,  # 32,000 frames
    "atoms": 51,
    "v_min": -10.0,
    "v_max": 10.0,
    "fire_reset": False,  # as in its code base, see NATURE
    "eval_interval": 250_000,  # "every 1M steps", frames
    "eval_steps": 125_000,  # "for 500K frames"
    "eval_epsilon": 0.0,  # dqn_zoo, rainbow/run_atari.py: exploration_epsilon=0
}

RAINBOW_VECTOR: Values = {
    **FAST_VECTOR,
    **RAINBOW,
    "atoms": 101,
    "v_min": -100.0,  # rewards of size 1 at gamma 0.99
    "v_max": 100.0,
}
