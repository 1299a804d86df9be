"""Defaults of PQN runs by name, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping

from agents.settings.presets.base import Values, check_preset, length


def pqn_preset(name: str, *, images: bool, norm: str, flags: Mapping[str, str] = {}) -> Values:
    """Defaults of a PQN run; epsilon falls over a share of it, so that --steps decides about --epsilon-steps.

    Args:
        name: `fast`.
        images: whether the task shows images, as Atari games do.
        norm: the normalizer.
        flags: the flags that are given, as text by name.

    Raises:
        ValueError: an unknown name.
    """
    check_preset(name, ("fast",))
    values, share = (PQN_ATARI, ATARI_SHARE) if images else (PQN_VECTOR, VECTOR_SHARE)
    return {"preset": name, **values, "epsilon_steps": int(share * length(values, flags))}


# Gallici et al. 2024 and its published code (github.com/mttga/purejaxql, config/alg/pqn_atari.yaml). Its normalizer is
# left to the user: --norm layer-channels.
ATARI_SHARE = 0.1  # EPS_DECAY
PQN_ATARI: Values = {
    "steps": 50_000_000,  # TOTAL_TIMESTEPS
    "num_envs": 128,  # NUM_ENVS
    "rollout_length": 32,  # NUM_STEPS
    "epochs": 2,  # NUM_EPOCHS
    "minibatches": 32,  # NUM_MINIBATCHES
    "learning_rate": 2.5e-4,  # LR
    "learning_rate_schedule": "constant",  # LR_LINEAR_DECAY: False
    "optimizer": "radam",  # pqn_atari.py
    "max_grad_norm": 10.0,  # MAX_GRAD_NORM
    "gamma": 0.99,  # GAMMA
    "q_lambda": 0.65,  # LAMBDA
    "epsilon_start": 1.0,  # EPS_START
    "epsilon_end": 0.001,  # EPS_FINISH
    "life_loss": True,  # episodic_life
    "reward_clip": 1.0,  # reward_clip
    "sticky_actions": 0.0,  # repeat_action_probability
    "noop_max": 30,  # noop_max
    "eval_epsilon": 0.0,  # EPS_TEST
}

# Network, λ, epochs, reward scale and the share are those of pqn_cartpole.yaml. Its 500,000 steps become 100,000 by
# smaller rollouts and larger steps. Once games last, failures are rare and their gradients many times the usual size:
# clipping at 0.5 lets one of them undo less of what was learned. Chosen on seeds 10 to 13 of CartPole, weight norm.
VECTOR_SHARE = 0.2
PQN_VECTOR: Values = {
    "hidden": (256, 256),
    "steps": 100_000,
    "num_envs": 16,
    "rollout_length": 32,
    "epochs": 4,
    "minibatches": 8,
    "learning_rate": 2.5e-4,
    "learning_rate_schedule": "linear",
    "max_grad_norm": 0.5,
    "q_lambda": 0.95,
    "epsilon_end": 0.1,  # 0.2 in the published code's pqn_cartpole.yaml
    "reward_clip": 0.0,
    "reward_scale": 0.1,
    "eval_interval": 10_000,
    "eval_epsilon": 0.0,
    "log_interval": 2_000,
    "checkpoint_interval": 50_000,
}
