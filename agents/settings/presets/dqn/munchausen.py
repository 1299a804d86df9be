"""Munchausen DQN and Munchausen IQN (Vieillard et al. 2020)."""

from __future__ import annotations

from agents.settings.presets.base import Values
from agents.settings.presets.dqn.nature import NATURE

# The authors' code (google-research, munchausen_rl): configs/atari.gin, and the flags of train.py. What is not here is
# as in NATURE.
MUNCHAUSEN: Values = {
    **NATURE,
    "munchausen": True,
    "munchausen_alpha": 0.9,  # train.py: alpha
    "munchausen_temperature": 0.03,  # train.py: tau
    "munchausen_low": -1.0,  # train.py: clip_value_min
    "optimizer": "adam",  # optimizer_type
    "learning_rate": 0.00005,  # optimizer_lr
    "optimizer_eps": 0.0003125,  # m_dqn.py
    "loss_reduction": "mean",
    "target_interval": 8_000,  # agent steps
    "learning_starts": 20_000,  # min_replay_history
    "epsilon_end": 0.01,  # epsilon_train
    "epsilon_steps": 250_000,  # epsilon_decay_period
    "eval_epsilon": 0.001,  # epsilon_eval
    "life_loss": False,  # terminal_on_life_loss
    "sticky_actions": 0.25,  # sticky_actions; dopamine's probability
    "noop_max": 0,  # dopamine plays none
}

# The same files, and agents/m_iqn.py: K levels give the policies, N' others value them.
M_IQN: Values = {
    **MUNCHAUSEN,
    "distribution": "implicit",
    "taus": 64,  # N, num_tau_samples
    "target_taus": 64,  # N', num_tau_prime_samples
    "policy_taus": 32,  # K, num_quantile_samples
    "acting_taus": 32,  # K; the source samples these levels too
    "huber_delta": 1.0,  # kappa
}
