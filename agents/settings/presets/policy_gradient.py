"""Defaults of runs of the policy-gradient family by name, and where they come from."""

from __future__ import annotations

from collections.abc import Collection

from agents.settings.presets.base import Values, check_preset


def ppo_preset(name: str, *, images: bool, norm: str, flags: Collection[str] = ()) -> Values:
    """Defaults of a PPO run.

    Args:
        name: `fast`.
        images: whether the task shows images, as Atari games do.
        norm: the normalizer.
        flags: names of the flags that are given.

    Raises:
        ValueError: an unknown name.
    """
    check_preset(name, ("fast",))
    return {"preset": name, **(PPO_ATARI if images else PPO_VECTOR)}


def a2c_preset(name: str, *, images: bool, norm: str, flags: Collection[str] = ()) -> Values:
    """Defaults of an A2C run, see `ppo_preset`."""
    check_preset(name, ("fast",))
    return {"preset": name, **(A2C_ATARI if images else A2C_VECTOR)}


def reinforce_preset(name: str, *, images: bool, norm: str, flags: Collection[str] = ()) -> Values:
    """Defaults of a REINFORCE run, see `ppo_preset`."""
    check_preset(name, ("fast",))
    return {"preset": name, **(REINFORCE_ATARI if images else REINFORCE_VECTOR)}


VECTOR: Values = {
    "hidden": (64, 64),
    "activation": "tanh",
    "reward_clip": 0.0,
    "eval_interval": 10_000,
    "log_interval": 2_000,
    "checkpoint_interval": 50_000,
}

# Schulman et al. 2017, table 5; epochs, minibatches, Adam's eps and the value's weight as in openai/baselines.
PPO_ATARI: Values = {
    "num_envs": 8,
    "rollout_length": 128,
    "epochs": 4,
    "minibatches": 4,
    "learning_rate": 2.5e-4,
    "learning_rate_schedule": "linear",
    "clip_range": 0.1,
    "clip_range_schedule": "linear",
    "entropy_coef": 0.01,
    "value_coef": 0.5,
    "gae_lambda": 0.95,
    "eval_sample": True,
}

PPO_VECTOR: Values = {
    **VECTOR,
    "steps": 100_000,
    "num_envs": 8,
    "rollout_length": 32,
    "epochs": 20,
    "minibatches": 1,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "linear",
    "clip_range_schedule": "linear",
    "gamma": 0.98,
    "gae_lambda": 0.8,
}

# Mnih et al. 2016 with the numbers of RL Zoo, which weights the value's squared error, not half of it, with 0.25.
A2C_ATARI: Values = {
    "num_envs": 16,
    "rollout_length": 5,
    "learning_rate": 7e-4,
    "optimizer": "rmsprop-a2c",
    "optimizer_eps": 1e-5,
    "entropy_coef": 0.01,
    "value_coef": 0.5,
    "eval_sample": True,
}

A2C_VECTOR: Values = {
    **VECTOR,
    "steps": 100_000,
    "num_envs": 8,
    "rollout_length": 16,
    "gae_lambda": 0.95,
    "learning_rate": 4e-3,
    "learning_rate_schedule": "linear",
    # The value's gradient would be some hundred times the policy's, which is then cut down with it to almost nothing;
    # with small rewards alone the policy's would sink below the optimizer's eps.
    "normalize_return": True,
    "normalize_advantage": True,
    "entropy_coef": 0.01,  # Mnih et al. 2016, section 8
    # rmsprop-a2c takes most of so short a run to come to its full step size. Adam without momentum is there at once,
    # and steadier than with momentum, at 3e-3, 6e-3 and 1e-2 (CartPole with weight norm, seeds 10 to 13).
    "optimizer": "adam",
    "beta1": 0.0,
    "optimizer_eps": 1e-5,
}

REINFORCE_ATARI: Values = {"num_envs": 1, "learning_rate": 1e-4, "entropy_coef": 0.01, "eval_sample": True}

REINFORCE_VECTOR: Values = {
    **VECTOR,
    "steps": 200_000,
    "num_envs": 4,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "linear",
    # The value's gradient on whole returns is some thousand times the policy's, which would sink below Adam's eps.
    "max_grad_norm": 0.0,
}
