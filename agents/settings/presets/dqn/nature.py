"""DQN (Mnih et al. 2015)."""

from __future__ import annotations

from agents.settings.presets.base import Values

# Mnih et al. 2015, extended data table 1, unless another source is next to the value.
NATURE: Values = {
    "norm": "none",
    "num_envs": 1,
    "steps": 50_000_000,  # 200 million frames
    "hidden": (512,),
    "precision": "float32",
    "batch_size": 32,
    "replay_size": 1_000_000,
    # "Target network update frequency" 10,000 "in the number of parameter updates"; one update is 4 steps. dqn_zoo and
    # Dopamine copy it every 10,000 steps.
    "target_interval": 40_000,
    "tau": 1.0,
    "gamma": 0.99,
    "n_step": 1,
    "double": False,
    "train_interval": 4,  # "update frequency"
    "optimizer": "rmsprop",  # centred: "squared gradient momentum" and "gradient momentum" 0.95
    "learning_rate": 0.00025,
    "optimizer_eps": 0.01,  # "min squared gradient", under the root
    "epsilon_start": 1.0,
    "epsilon_end": 0.1,
    "epsilon_steps": 1_000_000,
    "learning_starts": 50_000,
    "noop_max": 30,
    "fire_reset": False,  # the published code presses nothing
    "life_loss": True,  # methods, "training details"
    "max_frames": 108_000,  # dqn_zoo and Dopamine, 30 minutes; the paper evaluates for 5, as --protocol nature does
    "sticky_actions": 0.0,
    "full_action_set": False,
    "reward_clip": 1.0,  # methods, "training details"
    "huber_delta": 1.0,  # methods: "error clipping"
    "loss_reduction": "sum",  # the published code adds the gradients of a batch up
    "max_grad_norm": 0.0,
    "eval_interval": 250_000,  # published code: an epoch
    "eval_steps": 125_000,  # published code
    "eval_epsilon": 0.05,  # methods, "evaluation procedure"
    "checkpoint_interval": 1_000_000,
}
