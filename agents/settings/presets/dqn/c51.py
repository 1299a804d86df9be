"""C51 (Bellemare et al. 2017)."""

from __future__ import annotations

from agents.settings.presets.base import Values
from agents.settings.presets.dqn.nature import NATURE

# The authors' file (dopamine, tf/agents/rainbow/configs/c51_icml.gin, "hyperparameters used in Bellemare et al.
# (2017)"); dqn_zoo's c51/run_atari.py agrees but clips the gradient norm at 10. What is not here is as in NATURE.
C51: Values = {
    **{name: value for name, value in NATURE.items() if name != "huber_delta"},
    "distribution": "categorical",
    "atoms": 51,  # num_atoms
    "v_min": -10.0,
    "v_max": 10.0,  # vmax
    "optimizer": "adam",
    "learning_rate": 0.00025,
    "optimizer_eps": 0.0003125,  # 0.01 / 32
    "loss_reduction": "mean",
    "target_interval": 10_000,  # agent steps
    "learning_starts": 50_000,  # min_replay_history
    "epsilon_end": 0.01,  # epsilon_train
    "epsilon_steps": 1_000_000,  # epsilon_decay_period
    "eval_epsilon": 0.001,  # epsilon_eval
}
