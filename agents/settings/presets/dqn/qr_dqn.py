"""QR-DQN (Dabney et al. 2018, "Distributional reinforcement learning with quantile regression")."""

from __future__ import annotations

from agents.settings.presets.base import Values
from agents.settings.presets.dqn.nature import NATURE

# Dabney et al. 2018, section "Experimental results" (QR-DQN-1), and DeepMind's code (dqn_zoo, qrdqn/run_atari.py),
# which has 201 quantiles and clips the gradient norm at 10. What is not here is as in NATURE.
QR_DQN: Values = {
    **NATURE,
    "distribution": "quantile",
    "quantiles": 200,  # N, chosen in the paper
    "huber_delta": 1.0,  # κ = 1; dqn_zoo: huber_param
    "optimizer": "adam",
    "learning_rate": 0.00005,
    "optimizer_eps": 0.0003125,  # 0.01 / 32
    "loss_reduction": "mean",
    "target_interval": 10_000,  # dqn_zoo: 40,000 frames
    "learning_starts": 50_000,  # dqn_zoo: 0.05 of the replay buffer
    "epsilon_end": 0.01,
    "epsilon_steps": 1_000_000,  # dqn_zoo: 0.02 of 200 million frames
    "eval_epsilon": 0.001,
}
