"""IQN (Dabney et al. 2018, "Implicit quantile networks for distributional reinforcement learning")."""

from __future__ import annotations

from agents.settings.presets.base import Values
from agents.settings.presets.dqn.nature import NATURE

# dopamine, tf/agents/implicit_quantile/configs/implicit_quantile_icml.gin, whose "hyperparameters follow Dabney et al.
# (2018)"; dqn_zoo's iqn/run_atari.py starts to learn after 20,000 steps and has K = 64. What is not here is as in
# NATURE.
IQN: Values = {
    **NATURE,
    "distribution": "implicit",
    "taus": 64,  # N, num_tau_samples
    "target_taus": 64,  # N', num_tau_prime_samples
    "policy_taus": 32,  # K, num_quantile_samples
    "acting_taus": 32,  # K; the sources sample these levels too
    "huber_delta": 1.0,  # kappa
    "optimizer": "adam",
    "learning_rate": 0.00005,
    "optimizer_eps": 0.0003125,
    "loss_reduction": "mean",
    "target_interval": 10_000,  # agent steps
    "learning_starts": 50_000,  # min_replay_history
    "epsilon_end": 0.01,  # epsilon_train
    "epsilon_steps": 1_000_000,  # epsilon_decay_period
    "eval_epsilon": 0.001,  # epsilon_eval
}
