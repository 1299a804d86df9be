"""BTR, "Beyond The Rainbow" (Clark et al. 2024)."""

from __future__ import annotations

from agents.settings.presets.base import Values
from agents.settings.presets.dqn.nature import NATURE

# The authors' code (github.com/VIPTankz/BeyondTheRainbowICML): main.py, Agent.py, memory.py, networks.py; what is not
# here is as in NATURE. What differs: a batch comes from the whole replay buffer, not from one environment's; priorities
# are the losses, not the mean absolute errors; the Munchausen bonus is that of the target network, as in Vieillard et
# al. 2020, not of the learner; it and acting average over fixed levels; the warm-up is uniformly random.
BTR: Values = {
    **NATURE,
    # Network (networks.py, ImpalaCNNLargeIQN)
    "torso": "impala",
    "impala_width": 2,  # model_size
    "impala_blocks": 2,
    "impala_pool": 6,  # maxpool_size, AdaptiveMaxPool2d
    "norm": "spectral",  # ImpalaCNNResidual
    "norm_layers": "residual",
    "hidden": (512,),  # linear_size
    "dueling": True,
    "noisy": True,  # FactorizedNoisyLinear, σ₀ 0.5
    # Distribution and targets
    "distribution": "implicit",
    "taus": 8,  # num_tau
    "target_taus": 8,
    "policy_taus": 0,  # q_t_n is the mean of the quantiles that it values
    "acting_taus": 8,
    "huber_delta": 1.0,  # calculate_huber_loss
    "munchausen": True,
    "munchausen_alpha": 0.9,  # alpha
    "munchausen_temperature": 0.03,  # entropy_tau
    "munchausen_low": -1.0,  # lo
    "n_step": 3,  # n
    "gamma": 0.997,  # discount
    # Replay buffer
    "prioritized": True,
    "priority_exponent": 0.2,  # per_alpha
    "priority_beta": 0.4,  # per_beta, annealed to 1
    "replay_size": 1_048_576,  # max_mem_size
    "learning_starts": 200_000,  # min_sampling_size
    # Learning
    "num_envs": 64,  # envs
    "batch_size": 256,  # bs
    "train_interval": 64,  # rr 1: an update per step of all environments
    "target_interval": 32_000,  # c, target_replace: 500 updates
    "optimizer": "adam",
    "learning_rate": 0.0001,  # lr
    "optimizer_eps": 0.005 / 256,  # 0.005 / batch_size
    "max_grad_norm": 10.0,  # clip_grad_norm_
    "loss_reduction": "mean",
    # Exploration: the noise, and for the first half of the run random actions
    "epsilon_start": 1.0,  # eps_start
    "epsilon_end": 0.01,  # eps_final
    "epsilon_steps": 2_000_000,  # eps_steps, of EpsilonGreedy.update_eps
    "epsilon_schedule": "exponential",
    # Environment: ALE/…-v5 and AtariPreprocessingCustom
    "life_loss": False,  # life_info
    "sticky_actions": 0.25,
    "noop_max": 30,
    "eval_epsilon": 0.01,  # eval_mode of choose_action
    "eval_steps": 0,
    "eval_episodes": 100,  # num_eval_episodes
    "eval_interval": 250_000,  # eval_every
}

EPSILON_SHARE = 0.5  # Agent.choose_action: env_steps < total_frames / 2
